#pragma once

// Tells an engine that hangs (a stuck GPU, a dead disk) from one that is slow: nothing was done for
// much longer than what is done in this phase usually takes.

#include <vector>

#include "absl/time/time.h"

namespace graft {

// One for an attempt. Moments are Boottime(); the caller locks.
class PulseWatch {
 public:
  // Times of this phase's median that an engine may be still.
  static constexpr int kPatienceInMedians = 20;

  // `least`: an engine is never said to hang earlier.
  PulseWatch(absl::Duration least, absl::Duration now) : least_(least), last_(now) {}

  // Something was done, in this phase (any number that names it). A new phase has a median of its
  // own.
  void Beat(int phase, absl::Duration now);
  // The engine waits for something else than itself, or goes on. Such time does not count. May be
  // said again and again.
  void SetWaiting(bool waiting, absl::Duration now);

  // InfiniteDuration() while it waits.
  absl::Duration HangsAt() const;
  // How long nothing was done.
  absl::Duration StillFor(absl::Duration now) const { return now - last_; }

 private:
  const absl::Duration least_;
  int phase_ = -1;
  absl::Duration last_;           // What was done last; later by what was waited since.
  absl::Duration waiting_since_;  // While it waits.
  bool waiting_ = false;
  std::vector<absl::Duration> between_;  // The last of them in this phase, in any order.
  size_t next_ = 0;                      // Of between_, to be replaced.
};

}  // namespace graft
