#pragma once

// How the rows that an adapter was trained with became prompts and targets. An evaluate job of it
// and Generate with apply_template do the same unless they are told otherwise; the field names are
// not part of it: they belong to a data set. Everything here is one field, Adapter.trained_with.

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// Of a fine-tune job's resolved data: prompt_template, max_source_tokens and max_target_tokens.
// Nothing of plain text.
v1::DataSpec TrainedWith(const v1::DataSpec& resolved);

// The same by an adapter's graft.json, whose resolved_spec has it. Nothing when it has none.
// INVALID_ARGUMENT naming the field: no JSON, a template without {source}, a length that is none.
absl::StatusOr<v1::DataSpec> TrainedWithOfGraftJson(absl::string_view json);

// The same by the file graft.json; nothing when there is none, as in what PEFT wrote. Codes of
// TrainedWithOfGraftJson and common/base/file.h.
absl::StatusOr<v1::DataSpec> ReadTrainedWith(const std::string& graft_json_path);

}  // namespace graft
