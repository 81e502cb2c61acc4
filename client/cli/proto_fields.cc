#include "client/cli/proto_fields.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"
#include "yaml-cpp/yaml.h"

namespace graft {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int64_t kMaxJobFileBytes = 1 << 20;

absl::Status Expected(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not ", what));
}

// "SCHEDULE_" of SCHEDULE_LINEAR: what all names of the enum have in common up to an underscore.
std::string PrefixOf(const EnumDescriptor& type) {
  const std::string& unspecified = type.value(0)->name();
  const size_t end = unspecified.rfind("UNSPECIFIED");
  return end == std::string::npos ? "" : unspecified.substr(0, end);
}

absl::StatusOr<const EnumValueDescriptor*> EnumValue(const EnumDescriptor& type,
                                                     absl::string_view text) {
  const std::string prefix = PrefixOf(type);
  std::vector<std::string> names;
  for (int i = 1; i < type.value_count(); ++i) {
    const std::string& name = type.value(i)->name();
    const absl::string_view shortened = absl::StripPrefix(name, prefix);
    if (absl::EqualsIgnoreCase(text, name) || absl::EqualsIgnoreCase(text, shortened)) {
      return type.value(i);
    }
    names.push_back(absl::AsciiStrToLower(shortened));
  }
  return Expected(text, absl::StrCat("one of ", absl::StrJoin(names, ", ")));
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
      ASSIGN_OR_RETURN(const EnumValueDescriptor* value, EnumValue(*field.enum_type(), text));
      reflection.SetEnum(&message, &field, value);
      return absl::OkStatus();
    }
    default:
      return absl::InternalError(absl::StrCat("no text form for ", field.full_name()));
  }
#undef GRAFT_SET_NUMBER
}

// YAML's scalars have no type of their own; quoted ones are strings, the rest is what JSON would
// call it.
nlohmann::json FromYaml(const YAML::Node& node) {
  if (node.IsMap()) {
    nlohmann::json object = nlohmann::json::object();
    for (const auto& entry : node) object[entry.first.as<std::string>()] = FromYaml(entry.second);
    return object;
  }
  if (node.IsSequence()) {
    nlohmann::json array = nlohmann::json::array();
    for (const auto& entry : node) array.push_back(FromYaml(entry));
    return array;
  }
  if (node.IsNull()) return nullptr;
  const std::string text = node.as<std::string>();
  if (node.Tag() != "!") {
    int64_t whole;
    double number;
    if (absl::SimpleAtoi(text, &whole)) return whole;
    if (text == "true" || text == "false") return text == "true";
    if (absl::SimpleAtod(text, &number)) return number;
  }
  return text;
}

absl::StatusOr<std::string> YamlToJson(const std::string& yaml) {
  try {
    return FromYaml(YAML::Load(yaml)).dump();
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("line ", error.mark.line + 1, ": ", error.msg));
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("is not UTF-8");
  }
}

}  // namespace

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

absl::StatusOr<v1::Job> ReadJobFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxJobFileBytes));
  if (absl::EndsWith(path, ".yaml") || absl::EndsWith(path, ".yml")) {
    auto json = YamlToJson(text);
    if (!json.ok()) return Annotate(json.status(), path);
    text = *std::move(json);
  }
  v1::Job job;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &job);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": ", std::string(parsed.message()),
        " (the fields are those of graft.v1.Job: display_name, labels, priority, study, spec)"));
  }
  return job;
}

}  // namespace graft
