#include "common/jobs/message_json.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/base/suggest.h"

namespace graft {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::json;

// "SCHEDULE_" of SCHEDULE_LINEAR: what all names of the enum have in common up to an underscore.
std::string PrefixOf(const EnumDescriptor& type) {
  const std::string& unspecified = type.value(0)->name();
  const size_t end = unspecified.rfind("UNSPECIFIED");
  return end == std::string::npos ? "" : unspecified.substr(0, end);
}

std::string PathOf(absl::string_view path, absl::string_view name) {
  return path.empty() ? std::string(name) : absl::StrCat(path, ".", name);
}

absl::Status MakeExact(const FieldDescriptor& field, const std::string& path, json& value) {
  if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) {
      RETURN_IF_ERROR(MakeExact(field, absl::StrCat(path, "[", i, "]"), value[i]));
    }
    return absl::OkStatus();
  }
  if (field.is_map()) return absl::OkStatus();
  if (field.type() == FieldDescriptor::TYPE_MESSAGE && value.is_object()) {
    return MakeExactJson(*field.message_type(), path, value);
  }
  // YAML's true and false are values of an enum, too.
  const bool named = value.is_string() || value.is_boolean();
  if (field.type() != FieldDescriptor::TYPE_ENUM || !named) return absl::OkStatus();
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text == field.enum_type()->value(0)->name()) return absl::OkStatus();  // Unspecified.
  const auto found = FindEnumValue(*field.enum_type(), text);
  if (!found.ok()) return Annotate(found.status(), path);
  value = (*found)->name();
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> EnumNames(const EnumDescriptor& type) {
  const std::string prefix = PrefixOf(type);
  std::vector<std::string> names;
  for (int i = 1; i < type.value_count(); ++i) {
    names.push_back(absl::AsciiStrToLower(absl::StripPrefix(type.value(i)->name(), prefix)));
  }
  return names;
}

absl::StatusOr<const EnumValueDescriptor*> FindEnumValue(const EnumDescriptor& type,
                                                         absl::string_view text) {
  const std::string folded = Folded(text);
  const std::vector<std::string> names = EnumNames(type);
  for (int i = 1; i < type.value_count(); ++i) {
    if (folded == Folded(type.value(i)->name()) || folded == Folded(names[i - 1])) {
      return type.value(i);
    }
  }
  return NotOneOf(text, names);
}

const FieldDescriptor* FindJsonField(const Descriptor& type, const std::string& key) {
  const FieldDescriptor* field = type.FindFieldByName(key);
  return field != nullptr ? field : type.FindFieldByCamelcaseName(key);
}

absl::Status NoSuchField(const Descriptor& type, const std::string& key, absl::string_view path) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return absl::InvalidArgumentError(
      absl::StrCat(PathOf(path, key), ": there is no such field", DidYouMean(key, names)));
}

absl::Status MakeExactJson(const Descriptor& type, absl::string_view path, json& object) {
  // These have forms of their own.
  if (absl::StartsWith(type.full_name(), "google.protobuf.")) return absl::OkStatus();
  for (auto& [key, value] : object.items()) {
    const FieldDescriptor* field = FindJsonField(type, key);
    if (field == nullptr) return NoSuchField(type, key, path);
    RETURN_IF_ERROR(MakeExact(*field, PathOf(path, key), value));
  }
  return absl::OkStatus();
}

}  // namespace graft
