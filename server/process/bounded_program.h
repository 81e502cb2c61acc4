#pragma once

// A program that is run for somebody, and must do no harm whatever it is: bounded in its time and
// in what it may say.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/base/subprocess.h"

namespace graft {

struct BoundedProgram {
  std::vector<std::string> argv;
  std::map<std::string, std::string> environment;  // Beside this process's own.
  std::string input;                               // Its standard input.
  // After that its process group gets SIGTERM, and after the grace SIGKILL.
  absl::Duration limit = absl::Seconds(60);
  absl::Duration grace = absl::Seconds(5);
  // Told each line that it writes to standard output or error, the first max_lines of them, cut to
  // max_line_bytes. What comes then is read, and dropped.
  std::function<void(absl::string_view line)> on_line;
  int max_lines = 100;
  size_t max_line_bytes = 1000;
};

struct ProgramEnd {
  ExitStatus status;
  bool timed_out = false;
  bool cut_short = false;
  int64_t dropped_bytes = 0;  // Of what it wrote.
};

// Runs the program to its end, and kills what it leaves in its process group. `cut_short` is as if
// its time were over, with a shorter grace. Blocks. Codes of Subprocess::Start.
absl::StatusOr<ProgramEnd> RunBounded(const BoundedProgram& program, StopSignal& cut_short,
                                      Clock& clock);

}  // namespace graft
