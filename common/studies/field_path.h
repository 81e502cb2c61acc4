#pragma once

// Fields of a message by path: "fine_tune.method.lora.rank".

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace graft {

// Null: there is no such field. What a list or a map holds has no path.
const google::protobuf::FieldDescriptor* FindField(const google::protobuf::Descriptor& type,
                                                   absl::string_view path);

// Clears it; where a message on the way is not there, there is nothing to clear.
void ClearField(google::protobuf::Message& message, absl::string_view path);

// Replaces what the field has by `json`, its value in protobuf's JSON; makes the messages on the
// way. INVALID_ARGUMENT says what the field takes.
absl::Status SetFromJson(google::protobuf::Message& message, absl::string_view path,
                         absl::string_view json);

}  // namespace graft
