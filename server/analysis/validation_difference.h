#pragma once

// Whether two jobs of a comparison were validated alike.

#include <initializer_list>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "graft/v1/results.pb.h"
#include "server/analysis/compared_job.h"

namespace graft {

// Each job whose numbers stand beside those of an earlier one, if it was validated otherwise: a
// fine-tune job beside the first one, and the first job of the other kind beside the first of all.
// Two evaluations are compared row by row (paired_difference.h).
std::vector<v1::ValidationDifference> ValidationDifferences(const std::vector<Contestant>& jobs);

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
