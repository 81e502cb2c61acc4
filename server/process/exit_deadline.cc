#include "server/process/exit_deadline.h"

#include <pthread.h>

#include <cstdlib>

#include "common/telemetry/log.h"

namespace graft {

ExitDeadline::ExitDeadline(Clock& clock, absl::Duration after)
    : over_(clock), thread_([this, after] {
        if (over_.WaitFor(after)) return;
        Log(LogLevel::kError, "the time to stop in is over: what still runs is dropped",
            {{"after", absl::FormatDuration(after)}});
        std::_Exit(kStopTimeoutExitCode);
      }) {
  pthread_setname_np(thread_.native_handle(), "exit-deadline");
}

ExitDeadline::~ExitDeadline() {
  over_.Stop();
  thread_.join();
}

}  // namespace graft
