#pragma once

// The files that say what a result is and what it was made of; docs/FORMATS.md documents them.

#include <google/protobuf/message.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "graft/engine/v1/engine.pb.h"
#include "worker/engine/session/session.h"

namespace graft {

// graft.json of an adapter or model: resolved spec, hashes of base and data, code version,
// settings, metrics, lineage, and the files made so far (`finished.output`).
std::string GraftJson(const engine::v1::Run& run, const FineTuneOutcome& outcome,
                      const engine::v1::Finished& finished);

// results.json of an evaluation: every value, the fingerprint, the resolved spec. Of several
// adapters each has one; `of_several` is its place in EvaluateSpec.adapters.
std::string ResultsJson(const engine::v1::Run& run, const EvaluateOutcome& outcome,
                        std::optional<int> of_several = std::nullopt);

// resolved_spec of a graft.json. INVALID_ARGUMENT: there is none, or it has fields that are not
// known here. Codes of common/base/file.h.
absl::StatusOr<v1::JobSpec> ReadResolvedSpec(const std::string& path);

// The directories below the output that hold PEFT adapters, in the order in which they are loaded:
// {""}, or {"lora", "soft_prompt"}.
std::vector<std::string> PeftDirectories(const engine::v1::Finished& finished);

// The prompt template that the adapter was trained with, by its graft.json; the default one when
// there is none, or no directory. Codes of ReadTrainedWith (common/jobs/trained_with.h).
absl::StatusOr<std::string> PromptTemplateOf(const std::string& adapter_directory);

// Protobuf's JSON with the field names of the .proto files. With `pretty` over several lines.
std::string ToJson(const google::protobuf::Message& message, bool pretty);
// INVALID_ARGUMENT: not such a message; an unknown field is named.
absl::Status FromJson(const std::string& json, google::protobuf::Message* message);

}  // namespace graft
