#include "client/cli/interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>

namespace graft {
namespace {

constexpr int kWakeUp = SIGUSR1;  // From the destructor.

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, kWakeUp);
  return signals;
}

}  // namespace

void BlockInterrupts() {
  const sigset_t signals = Signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

InterruptWaiter::InterruptWaiter(ApiClient& client) : client_(client), thread_([this] { Run(); }) {}

InterruptWaiter::~InterruptWaiter() {
  pthread_kill(thread_.native_handle(), kWakeUp);
  thread_.join();
}

void InterruptWaiter::Run() {
  const sigset_t signals = Signals();
  for (;;) {
    int number = 0;
    sigwait(&signals, &number);
    if (number == kWakeUp) return;
    if (!graceful_ || interrupted_) _exit(128 + SIGINT);
    interrupted_ = true;
    client_.CancelStreams();
  }
}

}  // namespace graft
