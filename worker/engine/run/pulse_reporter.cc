#include "worker/engine/run/pulse_reporter.h"

#include <pthread.h>

#include <utility>

namespace graft {

PulseReporter::PulseReporter(JobControl& control, std::function<void()> report, Clock& clock)
    : control_(control), report_(std::move(report)), clock_(clock), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "pulse");
}

PulseReporter::~PulseReporter() {
  {
    MutexLock lock(mutex_);
    ends_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

bool PulseReporter::WaitForInterval() {
  const absl::Duration deadline = clock_.Boottime() + kInterval;
  MutexLock lock(mutex_);
  while (!ends_ && clock_.WaitUntil(changed_, mutex_, deadline)) {
  }
  return !ends_;
}

void PulseReporter::Run() {
  int64_t pulse = 0;
  bool waiting = false;
  while (WaitForInterval()) {
    const int64_t pulse_now = control_.pulse().count();
    const bool waiting_now = control_.waiting();
    if (pulse_now == pulse && waiting_now == waiting) continue;
    pulse = pulse_now;
    waiting = waiting_now;
    report_();
  }
}

}  // namespace graft
