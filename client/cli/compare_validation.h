#pragma once

// Whether two jobs of a comparison were validated alike.

#include <initializer_list>
#include <string>
#include <vector>

#include "client/cli/compare.h"
#include "google/protobuf/message.h"

namespace graft {

// How a job's validation differs from another's.
struct ValidationDifference {
  std::string job;  // Their names: jobs/…
  std::string to_job;
  std::string label;  // "lora - soft_prompt".
  // Other data or rows, so that no number of the two is comparable: "validation_fraction is 0.2,
  // not 0.1". Else empty.
  std::string rows;
  // Other texts of the same rows: lengths, template.
  std::string limits;
  // What only ROUGE depends on, where both have it: decoding, stemmer, scored rows.
  std::string scoring;
};

// Each job whose numbers stand beside those of an earlier one, if it was validated otherwise: a
// fine-tune job beside the first one, and the first job of the other kind beside the first of all.
// Two evaluations are compared row by row: see PairedDifferences.
std::vector<ValidationDifference> ValidationDifferences(const std::vector<ComparedJob>& jobs);

// "lora - soft_prompt: not comparable, validated on other rows: …", a line each.
std::string ValidationText(const std::vector<ValidationDifference>& differences);

// The fields of `names` that are not the same, joined by "; ": "use_stemmer is false, not true".
// The messages are of one type.
std::string UnequalFields(const google::protobuf::Message& ours,
                          const google::protobuf::Message& theirs,
                          std::initializer_list<const char*> names);

// The same, and the precision where both jobs tell it: those of earlier releases do not.
std::string UnequalDecoding(const v1::ScoringFingerprint& ours,
                            const v1::ScoringFingerprint& theirs,
                            std::initializer_list<const char*> names);

}  // namespace graft
