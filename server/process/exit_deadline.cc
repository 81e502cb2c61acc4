#include "server/process/exit_deadline.h"

#include <pthread.h>

#include <cstdlib>

#include "common/telemetry/log.h"

namespace graft {

namespace {

// The log may be what hangs.
constexpr absl::Duration kMostForSayingSo = absl::Seconds(1);

[[noreturn]] void Exit(absl::Duration after) {
  StopSignal said;
  const std::thread log([&] {
    Log(LogLevel::kError, "the time to stop in is over: what still runs is dropped",
        {{"after", absl::FormatDuration(after)}});
    said.Stop();
  });
  said.WaitFor(kMostForSayingSo);
  std::_Exit(kStopTimeoutExitCode);
}

}  // namespace

ExitDeadline::ExitDeadline(Clock& clock, absl::Duration after)
    : over_(clock), thread_([this, after] {
        if (!over_.WaitFor(after)) Exit(after);
      }) {
  pthread_setname_np(thread_.native_handle(), "exit-deadline");
}

ExitDeadline::~ExitDeadline() {
  over_.Stop();
  thread_.join();
}

}  // namespace graft
