#include "client/cli/interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <utility>

namespace graft {
namespace {

constexpr int kWakeUp = SIGUSR1;  // From the destructor.

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGWINCH);
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

void InterruptWaiter::SetTick(std::function<void()> tick) {
  MutexLock lock(mutex_);
  tick_ = std::move(tick);
}

void InterruptWaiter::Tick() {
  MutexLock lock(mutex_);
  if (tick_) tick_();
}

void InterruptWaiter::Run() {
  const sigset_t signals = Signals();
  const timespec second = {1, 0};
  for (;;) {
    const int number = sigtimedwait(&signals, nullptr, &second);
    if (number == kWakeUp) return;
    if (number != SIGINT) {
      Tick();
      continue;
    }
    if (!graceful_ || interrupted_) _exit(128 + SIGINT);
    interrupted_ = true;
    client_.CancelStreams();
  }
}

}  // namespace graft
