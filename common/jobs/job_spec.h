#pragma once

// What makes a spec valid, and what its defaults are. Pure functions: the server calls them at
// submission with facts from its catalogue, graft-engine run with facts from the files.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graft/v1/adapter.pb.h"
#include "graft/v1/dataset.pb.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/model.pb.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// What must be known to resolve a spec. Null: the spec names none (see SpecReferences). Only these
// fields are read:
//   Model    name, sha256, vocab_size, n_positions, n_embd, n_layer; tied_head
//   Adapter  name, sha256, base_model, base_model_sha256, method, init_from_error, trained_with
//   Dataset  name, sha256, num_rows, fields
struct SpecFacts {
  const v1::Model* base_model = nullptr;
  const v1::Adapter* adapter = nullptr;      // init_from, or the adapter to evaluate.
  std::vector<const v1::Adapter*> adapters;  // EvaluateSpec.adapters, in their order.
  const v1::Dataset* train = nullptr;
  const v1::Dataset* validation = nullptr;
  // The resolved spec of the job whose checkpoint init_from names.
  const v1::FineTuneSpec* continued = nullptr;
};

// Defaults that belong to the installation.
struct SpecDefaults {
  // Of the CPU; 0: jobs that do not say stay open, and their first attempt decides.
  int threads = 0;
};

// A name in a spec, and where it stands.
struct SpecReference {
  std::string name;   // Empty: not given.
  std::string field;  // Path, beginning with the `path` of the call.
};
struct SpecReferences {
  SpecReference base_model;  // Of an evaluate job: may be empty; then it is the adapter's.
  SpecReference adapter;
  std::vector<SpecReference> adapters;  // EvaluateSpec.adapters, in their order.
  SpecReference train;
  SpecReference validation;
};
SpecReferences ReferencesOf(const v1::JobSpec& spec, absl::string_view path);

// Of one evaluate job.
inline constexpr int kMaxEvaluatedAdapters = 16;

// Everything that can be said without facts: required fields, ranges, names, what excludes what.
// INVALID_ARGUMENT with every violation (BadRequest); paths begin with `path`, e.g. "job.spec" or
// "spec".
absl::Status ValidateSpec(const v1::JobSpec& spec, absl::string_view path);

// The spec with every default filled in and every reference bound to its hash. INVALID_ARGUMENT as
// above, also for what the facts rule out: rank beyond the layer, unknown target module, layer out
// of range, prompt + text longer than the model, a field that the data set does not have, an
// adapter of another base model. What is not knowable here stays unset and is said in spec.proto:
// precision AUTO, and dropout of a trained trunk (from the model's config). In the result each part
// of the method has its own learning_rate.
absl::StatusOr<v1::JobSpec> ResolveSpec(const v1::JobSpec& spec, const SpecFacts& facts,
                                        const SpecDefaults& defaults, absl::string_view path);

// The fields that pairs are read from when `data` does not say: document and summary.
void ResolveFields(v1::DataSpec& data);

// What a person should know about a resolved spec, though nothing in it is refused: of an evaluate
// job whatever of its data is otherwise than an adapter of it was trained with (NOT_AS_TRAINED).
std::vector<v1::Warning> WarningsOf(const v1::JobSpec& resolved, const SpecFacts& facts);

// The client's fields of a job to create: display_name, labels, priority, study (not its spec).
absl::Status ValidateJobFields(const v1::Job& job, absl::string_view path);

// Whole request: ValidateJobFields, then ValidateSpec of job.spec, all violations together.
absl::Status ValidateCreateJob(const v1::CreateJobRequest& request);

// The mask of a change to a job, and what it names of the job. A mask path of one label begins so.
inline constexpr char kLabelPath[] = "labels.";
absl::Status ValidateUpdateJob(const v1::UpdateJobRequest& request);

// A request_id: at most 128 bytes of printable ASCII; empty is allowed.
absl::Status ValidateRequestId(absl::string_view request_id);

}  // namespace graft
