#include "common/telemetry/log_signals.h"

#include "common/telemetry/log.h"

namespace graft {

int WaitForEnd(const ProgramSignals& signals, const std::string& log_file,
               const std::function<void()>& on_reopened) {
  for (;;) {
    const int signal = signals.Wait();
    if (signal != SIGHUP || log_file.empty()) return signal;
    if (const absl::Status reopened = ReopenLog(); reopened.ok()) {
      Log(LogLevel::kInfo, "the log was opened anew");
    } else {
      Log(LogLevel::kError, "the log goes on where it was",
          {{"error", std::string(reopened.message())}});
    }
    if (on_reopened) on_reopened();
  }
}

}  // namespace graft
