#include "common/studies/study_points.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/studies/field_path.h"
#include "google/protobuf/util/json_util.h"

namespace graft {
namespace {

using google::protobuf::FieldDescriptor;

constexpr int kMaxDraws = 100;  // Of one random point, until it is a new one.

// SplitMix64 (Steele et al. 2014): the n-th number of a seed, whoever asks.
uint64_t Mix(uint64_t seed, uint64_t n) {
  uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// 0 <= u < 1.
double Uniform(uint64_t seed, uint64_t n) {
  return static_cast<double>(Mix(seed, n) >> 11) / static_cast<double>(uint64_t{1} << 53);
}

bool IsWhole(const FieldDescriptor& field) {
  return field.cpp_type() != FieldDescriptor::CPPTYPE_DOUBLE;
}

std::string NumberText(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  return absl::StrCat(value);  // Six digits: what is told is what is trained with.
}

// The value at a share 0..1 of the way from min to max.
std::string ValueAt(const v1::Dimension& dimension, const FieldDescriptor& field, double share) {
  const bool logarithmic = dimension.has_log_range();
  const v1::Dimension::Range& range = logarithmic ? dimension.log_range() : dimension.range();
  double value = range.min() + share * (range.max() - range.min());
  if (logarithmic) {
    value = std::exp(std::log(range.min()) + share * std::log(range.max() / range.min()));
  }
  if (IsWhole(field)) value = std::round(value);
  return NumberText(std::min(std::max(value, range.min()), range.max()));
}

std::string JsonOf(const google::protobuf::Value& value) {
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(value, &text).ok();
  return text;
}

// All values of a dimension, in order, each once.
std::vector<std::string> GridOf(const v1::Dimension& dimension, const FieldDescriptor& field) {
  std::vector<std::string> values;
  if (dimension.has_choices()) {
    for (const auto& value : dimension.choices().values()) values.push_back(JsonOf(value));
    return values;
  }
  const int steps =
      dimension.has_log_range() ? dimension.log_range().steps() : dimension.range().steps();
  for (int i = 0; i < steps; ++i) {
    std::string value = ValueAt(dimension, field, static_cast<double>(i) / (steps - 1));
    if (values.empty() || values.back() != value) values.push_back(std::move(value));
  }
  return values;
}

std::string Drawn(const v1::Dimension& dimension, const FieldDescriptor& field, double share) {
  if (!dimension.has_choices()) {
    const v1::Dimension::Range& range =
        dimension.has_log_range() ? dimension.log_range() : dimension.range();
    if (!IsWhole(field) || dimension.has_log_range()) return ValueAt(dimension, field, share);
    // Every whole number is as likely as every other.
    return NumberText(range.min() + std::floor(share * (range.max() - range.min() + 1)));
  }
  const auto& values = dimension.choices().values();
  return JsonOf(values[static_cast<int>(share * values.size())]);
}

// In the order of their paths.
struct NamedDimension {
  std::string path;
  const v1::Dimension* values;
  const FieldDescriptor* field;
};

std::vector<NamedDimension> DimensionsOf(const v1::Study& study) {
  std::map<std::string, const v1::Dimension*> sorted;
  for (const auto& [path, dimension] : study.space()) sorted[path] = &dimension;
  std::vector<NamedDimension> dimensions;
  for (const auto& [path, values] : sorted) {
    dimensions.push_back({path, values, FindField(*v1::JobSpec::descriptor(), path)});
  }
  return dimensions;
}

using Parameters = std::map<std::string, std::string>;

absl::Status TooMany(const v1::Study& study, int max_points, absl::string_view path) {
  return FieldViolation(
      absl::StrCat(path, ".space"),
      absl::StrCat("makes more than ", max_points, " points",
                   study.repeats() > 1 ? absl::StrCat(" of ", study.repeats(), " trials") : "",
                   "; fewer values, a random search or a greater limits.max_trials would do"));
}

size_t LongestValue(const NamedDimension& dimension) {
  size_t longest = 32;  // Of a number.
  for (const auto& value : dimension.values->choices().values()) {
    longest = std::max(longest, JsonOf(value).size());
  }
  return longest;
}

// Before any of so many points is made.
absl::Status CheckSize(const v1::Study& study, const std::vector<NamedDimension>& dimensions,
                       size_t points, absl::string_view path) {
  size_t parameters = 0;  // Bytes of one trial's.
  for (const NamedDimension& dimension : dimensions) {
    parameters += dimension.path.size() + LongestValue(dimension);
  }
  const size_t trials = points * study.repeats();
  if (trials * parameters > kMaxParameterBytes) {
    return FieldViolation(
        absl::StrCat(path, ".space"),
        absl::StrCat("has values so long that those of ", trials, " trials could take ",
                     trials * parameters, " bytes; ", kMaxParameterBytes, " are allowed"));
  }
  const size_t specs = trials * (study.spec_template().ByteSizeLong() + parameters);
  if (specs <= kMaxTrialSpecBytes) return absl::OkStatus();
  return FieldViolation(absl::StrCat(path, ".spec_template"),
                        absl::StrCat("is so long that the specs of ", trials, " trials could take ",
                                     specs, " bytes; ", kMaxTrialSpecBytes, " are allowed"));
}

absl::StatusOr<std::vector<Parameters>> GridPoints(const v1::Study& study, int max_points,
                                                   absl::string_view path) {
  const std::vector<NamedDimension> dimensions = DimensionsOf(study);
  std::vector<std::vector<std::string>> values;
  size_t count = 1;
  for (const NamedDimension& dimension : dimensions) {
    values.push_back(GridOf(*dimension.values, *dimension.field));
    count *= values.back().size();
    if (count > static_cast<size_t>(max_points)) return TooMany(study, max_points, path);
  }
  RETURN_IF_ERROR(CheckSize(study, dimensions, count, path));
  std::vector<Parameters> points(1);
  for (size_t i = 0; i < dimensions.size(); ++i) {
    std::vector<Parameters> all;
    for (const Parameters& point : points) {
      for (const std::string& value : values[i]) {
        all.push_back(point);
        all.back()[dimensions[i].path] = value;
      }
    }
    points = std::move(all);
  }
  return points;
}

absl::StatusOr<std::vector<Parameters>> RandomPoints(const v1::Study& study, int max_points,
                                                     absl::string_view path) {
  if (study.random().points() > max_points) return TooMany(study, max_points, path);
  const std::vector<NamedDimension> dimensions = DimensionsOf(study);
  RETURN_IF_ERROR(CheckSize(study, dimensions, study.random().points(), path));
  std::set<Parameters> seen;
  std::vector<Parameters> points;
  uint64_t drawn = 0;
  for (int i = 0; i < study.random().points(); ++i) {
    for (int draw = 0; draw < kMaxDraws; ++draw) {
      Parameters point;
      for (const NamedDimension& dimension : dimensions) {
        point[dimension.path] =
            Drawn(*dimension.values, *dimension.field, Uniform(study.seed(), drawn++));
      }
      if (!seen.insert(point).second) continue;
      points.push_back(std::move(point));
      break;
    }
  }
  return points;
}

// The template with these values.
absl::StatusOr<v1::JobSpec> SpecAt(const v1::Study& study, const Parameters& parameters,
                                   absl::string_view path) {
  v1::JobSpec spec = study.spec_template();
  for (const auto& [field, value] : parameters) {
    const absl::Status set = SetFromJson(spec, field, value);
    if (set.ok()) continue;
    return FieldViolation(absl::StrCat(path, ".space[\"", field, "\"]"),
                          absl::StrCat("the field does not take ", value, ": ", set.message()));
  }
  return spec;
}

// The last `parts` names of a path.
std::string LastParts(const std::string& path, size_t parts) {
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  return absl::StrJoin(names.end() - std::min(parts, names.size()), names.end(), ".");
}

}  // namespace

absl::StatusOr<std::vector<StudyPoint>> PointsOf(const v1::Study& study, int max_points,
                                                 absl::string_view path) {
  ASSIGN_OR_RETURN(std::vector<Parameters> all, study.has_random()
                                                    ? RandomPoints(study, max_points, path)
                                                    : GridPoints(study, max_points, path));
  std::vector<StudyPoint> points;
  for (Parameters& parameters : all) {
    ASSIGN_OR_RETURN(v1::JobSpec spec, SpecAt(study, parameters, path));
    points.push_back({std::move(parameters), std::move(spec)});
  }
  return points;
}

std::map<std::string, std::string> ShortParameters(const Parameters& parameters) {
  for (size_t parts = 1;; ++parts) {
    std::map<std::string, std::string> named;
    bool whole = true;
    for (const auto& [path, value] : parameters) {
      const std::string name = LastParts(path, parts);
      whole &= name == path;
      named[name] = value;
    }
    if (whole || named.size() == parameters.size()) return named;
  }
}

std::string PointLabel(const Parameters& parameters) {
  return absl::StrJoin(ShortParameters(parameters), " ", absl::PairFormatter("="));
}

}  // namespace graft
