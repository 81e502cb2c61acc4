#include "common/base/signals.h"

#include <pthread.h>

namespace graft {

ProgramSignals::ProgramSignals(absl::Span<const int> more) {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  struct sigaction inherited = {};
  sigaction(SIGHUP, nullptr, &inherited);
  if (inherited.sa_handler != SIG_IGN) sigaddset(&signals_, SIGHUP);
  for (const int signal : more) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

int ProgramSignals::Wait() const {
  int received = 0;
  sigwait(&signals_, &received);
  return received;
}

}  // namespace graft
