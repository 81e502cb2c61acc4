#include "common/studies/field_path.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/json_util.h"

namespace graft {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const FieldDescriptor* FindField(const Descriptor& type, absl::string_view path) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(path, absl::MaxSplits('.', 1));
  const FieldDescriptor* field = type.FindFieldByName(std::string(parts.first));
  const bool last = path.find('.') == absl::string_view::npos;
  if (field == nullptr || last) return field;
  if (field->is_repeated() || field->message_type() == nullptr) return nullptr;
  return FindField(*field->message_type(), parts.second);
}

void ClearField(Message& message, absl::string_view path) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(path, absl::MaxSplits('.', 1));
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(std::string(parts.first));
  if (field == nullptr) return;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (parts.second.empty()) return reflection.ClearField(&message, field);
  if (!reflection.HasField(message, field)) return;
  ClearField(*reflection.MutableMessage(&message, field), parts.second);
}

absl::Status SetFromJson(Message& message, absl::string_view path, absl::string_view json) {
  const std::vector<absl::string_view> names = absl::StrSplit(path, '.');
  std::string text(json);
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    text = absl::StrCat("{\"", *name, "\":", text, "}");
  }
  const std::unique_ptr<Message> set(message.New());
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, set.get());
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::string_view(parsed.message().data(), parsed.message().size()));
  }
  ClearField(message, path);
  message.MergeFrom(*set);
  return absl::OkStatus();
}

}  // namespace graft
