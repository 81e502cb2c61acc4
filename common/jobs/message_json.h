#pragma once

// protobuf's JSON as people write it: what client and server take beside the exact form.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "nlohmann/json.hpp"

namespace graft {

// The values of an enum as people write them: without their prefix, in lower case ("linear").
std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor& type);
// The value that `text` names, with or without its prefix, in any case, '-' for '_' if one likes.
// INVALID_ARGUMENT says which there are.
absl::StatusOr<const google::protobuf::EnumValueDescriptor*> FindEnumValue(
    const google::protobuf::EnumDescriptor& type, absl::string_view text);

// The field that a key of protobuf's JSON names, in either spelling; null: none.
const google::protobuf::FieldDescriptor* FindJsonField(const google::protobuf::Descriptor& type,
                                                       const std::string& key);
// INVALID_ARGUMENT: `type` has no field `key`; names one that is like it. `path` is that of `type`.
absl::Status NoSuchField(const google::protobuf::Descriptor& type, const std::string& key,
                         absl::string_view path);

// Makes `object`, a message of `type` as people write it, exact: enum values get their full names.
// INVALID_ARGUMENT has the path, below `path`, of a field that does not exist or of an enum value
// that is none; other values are for protobuf's own parser to judge.
absl::Status MakeExactJson(const google::protobuf::Descriptor& type, absl::string_view path,
                           nlohmann::json& object);

}  // namespace graft
