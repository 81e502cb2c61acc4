#include "client/cli/proto_fields.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/jobs/message_json.h"
#include "common/jobs/timestamps.h"

namespace graft {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::Status Expected(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not ", what));
}

template <typename T, typename Parse, typename Set, typename Add>
absl::Status SetNumber(const FieldDescriptor& field, absl::string_view text, const Parse& parse,
                       const char* what, const Set& set, const Add& add) {
  T value;
  if (!parse(text, &value)) return Expected(text, what);
  field.is_repeated() ? add(value) : set(value);
  return absl::OkStatus();
}

// Sets, or appends to, one field.
absl::Status SetScalar(Message& message, const FieldDescriptor& field, absl::string_view text) {
  const Reflection& reflection = *message.GetReflection();
#define GRAFT_SET_NUMBER(cpp_type, parse, what, Kind)                                  \
  return SetNumber<cpp_type>(                                                          \
      field, text, [](absl::string_view t, cpp_type* v) { return parse(t, v); }, what, \
      [&](cpp_type v) { reflection.Set##Kind(&message, &field, v); },                  \
      [&](cpp_type v) { reflection.Add##Kind(&message, &field, v); })
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      GRAFT_SET_NUMBER(int32_t, absl::SimpleAtoi, "a whole number", Int32);
    case FieldDescriptor::CPPTYPE_INT64:
      GRAFT_SET_NUMBER(int64_t, absl::SimpleAtoi, "a whole number", Int64);
    case FieldDescriptor::CPPTYPE_UINT64:
      GRAFT_SET_NUMBER(uint64_t, absl::SimpleAtoi, "a whole number of 0 or more", UInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      GRAFT_SET_NUMBER(double, absl::SimpleAtod, "a number", Double);
    case FieldDescriptor::CPPTYPE_BOOL:
      GRAFT_SET_NUMBER(bool, absl::SimpleAtob, "true or false", Bool);
    case FieldDescriptor::CPPTYPE_STRING:
      field.is_repeated() ? reflection.AddString(&message, &field, std::string(text))
                          : reflection.SetString(&message, &field, std::string(text));
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_ENUM: {
      ASSIGN_OR_RETURN(const EnumValueDescriptor* value, FindEnumValue(*field.enum_type(), text));
      reflection.SetEnum(&message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      // Of those only moments have a text form.
      ASSIGN_OR_RETURN(const absl::Time time, ParseMoment(text, Clock::Real().Now()));
      reflection.MutableMessage(&message, &field)->CopyFrom(ToTimestamp(time));
      return absl::OkStatus();
    }
    default:
      return absl::InternalError(absl::StrCat("no text form for ", field.full_name()));
  }
#undef GRAFT_SET_NUMBER
}

}  // namespace

absl::StatusOr<absl::Time> ParseMoment(absl::string_view text, absl::Time now) {
  absl::Duration span;
  if (absl::ParseDuration(text, &span) && span > absl::ZeroDuration()) return now + span;
  std::string error;
  absl::Time time;
  for (const char* format :
       {absl::RFC3339_full, "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"}) {
    if (absl::ParseTime(format, text, absl::LocalTimeZone(), &time, &error)) return time;
  }
  return Expected(text,
                  "a moment such as 8h (from now), 2026-11-28 08:00 or "
                  "2026-11-28T08:00:00+01:00");
}

absl::Status SetField(Message& message, absl::string_view path, absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(path, absl::MaxSplits('.', 1));
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(std::string(parts.first));
  if (field == nullptr) {
    return absl::InternalError(absl::StrCat(message.GetTypeName(), " has no ", parts.first));
  }
  if (!parts.second.empty()) {
    return SetField(*message.GetReflection()->MutableMessage(&message, field), parts.second, text);
  }
  if (!field->is_repeated()) return SetScalar(message, *field, text);
  message.GetReflection()->ClearField(&message, field);
  for (absl::string_view piece : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    RETURN_IF_ERROR(SetScalar(message, *field, absl::StripAsciiWhitespace(piece)));
  }
  return absl::OkStatus();
}

}  // namespace graft
