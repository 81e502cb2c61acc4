#pragma once

// The checks of a spec without and with facts, for job_spec.h's functions to put together.

#include "common/errors/field_checks.h"
#include "common/jobs/job_spec.h"
#include "common/methods/method_spec.h"

namespace graft {

// What ValidateSpec checks.
void CheckSpec(const v1::JobSpec& spec, const FieldScope& scope);

// The prompt_template of `data`.
void CheckTemplate(const v1::DataSpec& data, const FieldScope& scope);
// What else to do with rows of an instruction, an input and an output, for messages.
inline constexpr char kJoinFieldsAdvice[] =
    "make one field of several first: "
    "jq -c '. + {document: (.instruction + \"\\n\" + .input)}' FILE > rows.jsonl";

void CheckGeneration(const v1::GenerationOptions& generation, const FieldScope& scope);

// A text in a message: in quotation marks, escaped; of a long one only its size.
std::string Quoted(const std::string& text);

// Where the texts of a spec must fit: what the model has, and what the soft prompt takes of it.
struct Room {
  int n_positions = 0;
  int num_virtual_tokens = 0;
};

// Fills max_source_tokens and max_target_tokens, and checks that they fit.
void ResolveLengths(const Room& room, v1::DataSpec& data, const FieldScope& scope);

// Fills the evaluation's defaults; `default_samples` is that of max_samples (-1: all).
void ResolveEvaluation(const Room& room, const v1::DataSpec& resolved_data, int64_t default_samples,
                       v1::EvaluationSpec& evaluation, const FieldScope& scope);

}  // namespace graft
