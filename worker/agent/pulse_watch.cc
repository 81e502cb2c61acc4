#include "worker/agent/pulse_watch.h"

#include <algorithm>

namespace graft {
namespace {

constexpr size_t kMaxIntervals = 101;

}  // namespace

void PulseWatch::Beat(int phase, absl::Duration now) {
  SetWaiting(false, now);
  if (phase != phase_) {
    phase_ = phase;
    between_.clear();
    next_ = 0;
  } else if (between_.size() < kMaxIntervals) {
    between_.push_back(now - last_);
  } else {
    between_[next_] = now - last_;
    next_ = (next_ + 1) % kMaxIntervals;
  }
  last_ = now;
}

void PulseWatch::SetWaiting(bool waiting, absl::Duration now) {
  if (waiting == waiting_) return;
  waiting_ = waiting;
  if (waiting) {
    waiting_since_ = now;
  } else {
    last_ += now - waiting_since_;
  }
}

absl::Duration PulseWatch::HangsAt() const {
  if (waiting_) return absl::InfiniteDuration();
  absl::Duration median;
  if (!between_.empty()) {
    std::vector<absl::Duration> sorted = between_;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    median = *middle;
  }
  return last_ + std::max(least_, kPatienceInMedians * median);
}

}  // namespace graft
