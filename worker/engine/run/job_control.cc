#include "worker/engine/run/job_control.h"

namespace graft {

void JobControl::Cancel() {
  MutexLock lock(mutex_);
  cancelled_ = true;
  changed_.NotifyAll();
}

void JobControl::SetFence(int64_t boottime_ns) {
  MutexLock lock(mutex_);
  fence_ns_ = boottime_ns == 0 ? std::numeric_limits<int64_t>::max() : boottime_ns;
  changed_.NotifyAll();
}

bool JobControl::Fenced() const { return absl::ToInt64Nanoseconds(clock_.Boottime()) >= fence_ns_; }

absl::Status JobControl::Poll() {
  const absl::Status checked = Check();
  if (!checked.ok() || !between_) return checked;
  between_();
  return Check();
}

absl::Status JobControl::Check() {
  if (!cancelled_ && Fenced()) {
    MutexLock lock(mutex_);
    waiting_ = true;
    while (!cancelled_ && Fenced()) changed_.Wait(mutex_);
    waiting_ = false;
  }
  pulse().Beat();
  if (cancelled_) return absl::CancelledError("the job was cancelled");
  return paused_ ? PausedStatus() : absl::OkStatus();
}

}  // namespace graft
