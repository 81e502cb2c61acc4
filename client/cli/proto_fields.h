#pragma once

// Sets fields of a message from text, by path: what flags and job files become.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "graft/v1/job.pb.h"

namespace graft {

// Sets the field at `path` ("spec.fine_tune.method.lora.rank"), making the messages on the way.
// Numbers and booleans in their usual form; an enum by its value's name, with or without its
// prefix, in any case ("linear"); a repeated field takes values separated by commas, replacing what
// it had. INVALID_ARGUMENT says what the value should have been; a path that does not exist is a
// bug of ours.
absl::Status SetField(google::protobuf::Message& message, absl::string_view path,
                      absl::string_view text);

// A job from a file: proto JSON of graft.v1.Job, or the same as YAML ("job.yaml"). INVALID_ARGUMENT
// names the file and the field or line.
absl::StatusOr<v1::Job> ReadJobFile(const std::string& path);

}  // namespace graft
