#pragma once

// What `graft verify` finds out about a result: whether its files are those that it was published
// with, whether it was made of the model and the data that it names, and whether its numbers follow
// from its own files. Nothing here asks a server; the command does, through VerifySources.

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/formats/manifest.h"

namespace graft {

struct VerifyCheck {
  enum class Outcome { kOk, kDiffers, kNotChecked };
  std::string what;  // "file adapter_model.safetensors"
  Outcome outcome = Outcome::kOk;
  // kDiffers: "expected …, found …"; kNotChecked: why not, and what would be needed.
  std::string detail;
};

// Where the hash of something that a result names comes from. NOT_FOUND and UNAVAILABLE leave the
// check undone; the message says why. An empty function is a source that nobody asked.
using HashSource = std::function<absl::StatusOr<std::string>(const std::string& name)>;

struct VerifySources {
  HashSource base_model;  // By name; manifest hash.
  HashSource data_set;    // By name.
  HashSource adapter;     // By name; manifest hash, of an evaluation's adapter.
  // Local copies that take the place of the above. "": none.
  std::string base_model_directory;
  std::vector<std::string> data_files;
  // The files that the server published; empty: none to compare with.
  std::vector<ManifestFile> published;
};

// An adapter's (or model's) directory with its graft.json: every file against the list in
// graft.json, base model and data against their sources, the adapter's tensors against the base
// model's shapes (when its directory is given), and the metrics of the best step against
// metrics.jsonl and trainer_state.json.
// NOT_FOUND: no graft.json. INVALID_ARGUMENT: one that graft did not write.
absl::StatusOr<std::vector<VerifyCheck>> VerifyAdapterDirectory(const std::string& directory,
                                                                const VerifySources& sources);

// results.json and predictions.jsonl of an evaluate job: base model, adapter and data against their
// sources, and, computed again from the stored texts, every row's scores, lead-3, the means with
// their intervals, and the hash of the references. Codes as above.
absl::StatusOr<std::vector<VerifyCheck>> VerifyEvaluationDirectory(const std::string& directory,
                                                                   const VerifySources& sources);

// No check differs.
bool Holds(const std::vector<VerifyCheck>& checks);
// A line for each check, for people; one JSON object a line.
std::string VerifyText(const std::vector<VerifyCheck>& checks);
std::string VerifyJson(const std::vector<VerifyCheck>& checks);

}  // namespace graft
