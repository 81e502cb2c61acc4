#pragma once

// Sets fields of a message from text, by path: what flags become.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace graft {

// A moment: "2026-11-28T08:00:00+01:00", "2026-11-28 08:00" of this machine's time, or from now:
// "8h", "90m". INVALID_ARGUMENT.
absl::StatusOr<absl::Time> ParseMoment(absl::string_view text, absl::Time now);

// Sets the field at `path` ("spec.fine_tune.method.lora.rank"), making the messages on the way.
// Numbers and booleans in their usual form; an enum as FindEnumValue takes it, a timestamp as
// ParseMoment does; a repeated field
// takes values separated by commas, replacing what it had. INVALID_ARGUMENT says what the value
// should have been; a path that does not exist is a bug of ours.
absl::Status SetField(google::protobuf::Message& message, absl::string_view path,
                      absl::string_view text);

}  // namespace graft
