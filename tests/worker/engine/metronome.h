#pragma once

#include <cstdint>

#include "common/base/clock.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// A second goes by whenever it is asked: before each micro-batch, batch of a loss and decode step.
class Metronome : public StopToken {
 public:
  explicit Metronome(FakeClock& clock, int64_t stop_after = 1 << 20)
      : clock_(clock), left_(stop_after) {}
  absl::Status Poll() override {
    if (left_-- == 0) return absl::CancelledError("enough");
    clock_.Advance(absl::Seconds(1));
    return absl::OkStatus();
  }

 private:
  FakeClock& clock_;
  int64_t left_;
};

}  // namespace graft
