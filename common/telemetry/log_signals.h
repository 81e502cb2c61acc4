#pragma once

#include <functional>
#include <string>

#include "common/base/signals.h"

namespace graft {

// Blocks until a signal comes that ends the program, and returns it. SIGHUP ends a program that
// logs to standard error, as SIGTERM does; one that has a log file opens that anew, calls
// `on_reopened` (may be empty) and goes on.
int WaitForEnd(const ProgramSignals& signals, const std::string& log_file,
               const std::function<void()>& on_reopened = {});

}  // namespace graft
