#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace graft {

// "w-" and 16 hexadecimal digits.
std::string NewWorkerId();

// The id that a worker keeps in its state directory, whoever starts it there. One that is missing,
// or that no server takes (a file that was cut short), is made anew, and that is logged. Codes of
// common/base/file.h.
absl::StatusOr<std::string> WorkerIdIn(const std::string& state);

}  // namespace graft
