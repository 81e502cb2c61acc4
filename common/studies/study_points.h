#pragma once

// What the trials of a study are told: points of its space.

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graft/v1/spec.pb.h"
#include "graft/v1/study.pb.h"

namespace graft {

// Of all trials together, as they could be at the most: what GetStudy tells of them, and what is
// stored.
inline constexpr size_t kMaxParameterBytes = 1 << 20;
inline constexpr size_t kMaxTrialSpecBytes = 32 << 20;

// One point: what it sets, as JSON by field path, and the template with that.
struct StudyPoint {
  std::map<std::string, std::string> parameters;
  v1::JobSpec spec;
};

// The points of a study that ValidateStudy lets pass, in their order: a grid's, the last dimension
// changing fastest, or those that its seed draws (fewer where the space has no more). Without a
// space: the template alone. INVALID_ARGUMENT (violations below `path`, e.g. "study"): a value that
// its field does not take; more than `max_points`, or larger ones than may be.
absl::StatusOr<std::vector<StudyPoint>> PointsOf(const v1::Study& study, int max_points,
                                                 absl::string_view path);

// "rank=8 learning_rate=0.001": as little of the fields' paths as tells them apart.
std::string PointLabel(const std::map<std::string, std::string>& parameters);
// The same, by name.
std::map<std::string, std::string> ShortParameters(
    const std::map<std::string, std::string>& parameters);

}  // namespace graft
