#include "client/cli/study_flags.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/cli/proto_fields.h"
#include "common/base/status_macros.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace graft {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Value;

constexpr absl::string_view kSpecPrefix = "spec.";
constexpr absl::string_view kMethodField = "spec.fine_tune.method";

// Of a study's own fields.
constexpr std::pair<const char*, const char*> kOwnFlags[] = {
    {"display_name", "--study"},
    {"priority", "--priority"},
    {"deadline", "--deadline"},
    {"output_name", "--output-name"},
    {"objective.metric", "--objective"},
    {"repeats", "--repeats"},
    {"random.points", "--random"},
    {"successive_halving.min_steps", "--halving"},
    {"successive_halving.reduction_factor", "--reduction-factor"},
    {"successive_halving.brackets", "--brackets"},
    {"median_stopping.interval_steps", "--median-stopping"},
};

// Of the method as a whole, or of one of its parts.
bool IsOfMethod(const JobFlag& flag) {
  return flag.path == nullptr || absl::StartsWith(flag.path, kMethodField);
}

bool HasSeveral(const JobFlag& flag, const JobFlagValues& values) {
  return ValuesOf(flag, values.values.at(flag.name)).size() > 1;
}

// Without what the flags that `leave_out` names were given.
template <typename Predicate>
JobFlagValues Without(const std::vector<JobFlag>& flags, JobFlagValues values,
                      const Predicate& leave_out) {
  for (const JobFlag& flag : flags) {
    if (leave_out(flag)) values.values[flag.name].clear();
  }
  return values;
}

// A message as a value; a number stays one, though JSON has those of 64 bits as strings.
Value ToValue(const Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(message, &json, options).ok();
  Value value;
  (void)google::protobuf::util::JsonStringToMessage(json, &value).ok();
  return value;
}

Value ScalarValue(const Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  Value value;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      value.set_number_value(reflection.GetInt32(message, &field));
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      value.set_number_value(static_cast<double>(reflection.GetInt64(message, &field)));
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      value.set_number_value(static_cast<double>(reflection.GetUInt64(message, &field)));
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      value.set_number_value(reflection.GetDouble(message, &field));
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      value.set_bool_value(reflection.GetBool(message, &field));
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      value.set_string_value(reflection.GetEnum(message, &field)->name());
      break;
    default:
      value.set_string_value(reflection.GetString(message, &field));
      break;
  }
  return value;
}

// The value of the field at `path`, which is set.
Value ValueOf(const Message& message, absl::string_view path) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(path, absl::MaxSplits('.', 1));
  const FieldDescriptor& field =
      *message.GetDescriptor()->FindFieldByName(std::string(parts.first));
  if (field.is_repeated() || field.message_type() == nullptr) return ScalarValue(message, field);
  const Message& inner = message.GetReflection()->GetMessage(message, &field);
  return parts.second.empty() ? ToValue(inner) : ValueOf(inner, parts.second);
}

void AddChoice(const std::string& path, const Value& value, v1::Study& study) {
  *(*study.mutable_space())[path].mutable_choices()->add_values() = value;
}

// Each whole method once, in the order in which the flags make them.
absl::Status AddMethods(const std::vector<JobFlag>& flags, const JobFlagValues& values,
                        const v1::Job& base, v1::Study& study) {
  const JobFlagValues of_method =
      Without(flags, values, [](const JobFlag& flag) { return !IsOfMethod(flag); });
  ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, JobsFromFlags(flags, of_method, base, "study"));
  for (const v1::Job& job : jobs) {
    AddChoice(std::string(absl::StripPrefix(kMethodField, kSpecPrefix)),
              ToValue(job.spec().fine_tune().method()), study);
  }
  return absl::OkStatus();
}

absl::Status AddFlag(const JobFlag& flag, const JobFlagValues& values, v1::Study& study) {
  std::set<std::string> seen;
  for (const std::string& text : ValuesOf(flag, values.values.at(flag.name))) {
    if (!seen.insert(text).second) continue;
    v1::Job job;
    RETURN_IF_ERROR(Annotate(SetField(job, flag.path, text), flag.name));
    AddChoice(std::string(absl::StripPrefix(flag.path, kSpecPrefix)), ValueOf(job, flag.path),
              study);
  }
  return absl::OkStatus();
}

// What a study has once, for all of its trials.
absl::Status CheckSeveral(const JobFlag& flag) {
  const bool of_trials =
      absl::StartsWith(flag.path, kSpecPrefix) && !absl::EndsWith(flag.path, "output_name");
  if (of_trials) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag.name, ": has several values; the trials of a study share it"));
}

}  // namespace

absl::StatusOr<v1::Study> StudyFromFlags(const std::vector<JobFlag>& flags,
                                         const JobFlagValues& values, const v1::Job& base) {
  const auto several = [&](const JobFlag& flag) { return HasSeveral(flag, values); };
  const bool methods = std::any_of(flags.begin(), flags.end(), [&](const JobFlag& flag) {
    return flag.path == nullptr && several(flag);
  });
  const auto varies = [&](const JobFlag& flag) {
    return several(flag) || (methods && IsOfMethod(flag));
  };
  // Says what is wrong with any of them.
  RETURN_IF_ERROR(JobsFromFlags(flags, values, base, "study").status());
  v1::Study study;
  ASSIGN_OR_RETURN(const std::vector<v1::Job> rest,
                   JobsFromFlags(flags, Without(flags, values, varies), base, "study"));
  const v1::Job& job = rest.at(0);
  study.set_display_name(job.study().empty() ? job.display_name() : job.study());
  *study.mutable_labels() = job.labels();
  study.set_priority(job.priority());
  if (job.has_deadline()) *study.mutable_deadline() = job.deadline();
  study.set_allow_migration(job.allow_migration());
  *study.mutable_spec_template() = job.spec();
  if (job.spec().has_fine_tune()) {
    study.set_output_name(job.spec().fine_tune().output_name());
    study.mutable_spec_template()->mutable_fine_tune()->clear_output_name();
  }
  if (methods) {
    study.mutable_spec_template()->mutable_fine_tune()->clear_method();
    RETURN_IF_ERROR(AddMethods(flags, values, base, study));
  }
  for (const JobFlag& flag : flags) {
    if (!several(flag) || (methods && IsOfMethod(flag))) continue;
    RETURN_IF_ERROR(CheckSeveral(flag));
    RETURN_IF_ERROR(AddFlag(flag, values, study));
  }
  return study;
}

absl::Status AddRange(const std::vector<JobFlag>& flags, absl::string_view option,
                      absl::string_view text, bool logarithmic, v1::Study& study) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(absl::StrCat(
        option, ": \"", text,
        "\" is not of the form NAME=MIN..MAX, or NAME=MIN..MAX:POINTS for a grid, where NAME is "
        "that of a flag (learning-rate) or of a field"));
  };
  const std::pair<absl::string_view, absl::string_view> named =
      absl::StrSplit(text, absl::MaxSplits('=', 1));
  const std::pair<absl::string_view, absl::string_view> counted =
      absl::StrSplit(named.second, absl::MaxSplits(':', 1));
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(counted.first, absl::MaxSplits("..", 1));
  v1::Dimension::Range range;
  double min = 0;
  double max = 0;
  int32_t steps = 0;
  if (!absl::SimpleAtod(ends.first, &min) || !absl::SimpleAtod(ends.second, &max)) return wrong();
  if (!counted.second.empty() && !absl::SimpleAtoi(counted.second, &steps)) return wrong();
  range.set_min(min);
  range.set_max(max);
  range.set_steps(steps);
  std::string path(named.first);
  for (const JobFlag& flag : flags) {
    if (flag.path == nullptr || absl::StripPrefix(flag.name, "--") != named.first) continue;
    path = std::string(absl::StripPrefix(flag.path, kSpecPrefix));
  }
  if (path.empty()) return wrong();
  v1::Dimension& dimension = (*study.mutable_space())[path];
  *(logarithmic ? dimension.mutable_log_range() : dimension.mutable_range()) = range;
  return absl::OkStatus();
}

std::string NameOfStudyField(const std::vector<JobFlag>& flags, const JobFlagValues& values,
                             absl::string_view field) {
  absl::string_view path = absl::StripPrefix(field, "study.");
  if (absl::ConsumePrefix(&path, "space[\"")) {
    const std::string of_job = absl::StrCat("job.spec.", absl::StripSuffix(path, "\"]"));
    return NameOfField(flags, values, "spec", of_job);
  }
  if (absl::ConsumePrefix(&path, "spec_template")) {
    return NameOfField(flags, values, "spec", absl::StrCat("job.spec", path));
  }
  for (const auto& [own, flag] : kOwnFlags) {
    if (path == own) return flag;
  }
  return std::string(path);
}

}  // namespace graft
