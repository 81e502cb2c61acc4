#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace graft {

// Lets one caller at a time work on each thing. One more waits for it, for a repeated call finds
// the answer of the first; further ones are told to come again, lest they hold all threads.
// Thread-safe.
class OneAtATime {
 public:
  // Others may work on the thing once this is destroyed.
  class Turn {
   public:
    Turn(OneAtATime& owner, std::string key) : owner_(&owner), key_(std::move(key)) {}
    ~Turn() {
      if (owner_ != nullptr) owner_->Leave(key_);
    }
    Turn(Turn&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), key_(std::move(other.key_)) {}
    Turn& operator=(Turn&&) = delete;

   private:
    OneAtATime* owner_;
    std::string key_;
  };

  explicit OneAtATime(Clock& clock) : clock_(clock) {}

  // Blocks while another has the turn. `gone` is asked every second, and must be quick: whether
  // nobody waits for the caller any more. UNAVAILABLE: one waits already; CANCELLED: gone.
  absl::StatusOr<Turn> Enter(const std::string& key, const std::function<bool()>& gone) {
    MutexLock lock(mutex_);
    const auto [entry, is_first] = things_.emplace(key, Thing());
    Thing& thing = entry->second;
    if (is_first) return Turn(*this, key);
    if (thing.waiting) {
      return absl::UnavailableError(
          absl::StrCat("a call about ", key, " is at work, another waits"));
    }
    thing.waiting = true;
    while (thing.busy && !gone()) {
      clock_.WaitUntil(changed_, mutex_, clock_.Boottime() + absl::Seconds(1));
    }
    thing.waiting = false;
    if (thing.busy) return absl::CancelledError("nobody waits for the answer any more");
    thing.busy = true;
    return Turn(*this, key);
  }

 private:
  struct Thing {
    bool busy = true;
    bool waiting = false;
  };

  void Leave(const std::string& key) {
    MutexLock lock(mutex_);
    const auto entry = things_.find(key);
    entry->second.busy = false;
    if (!entry->second.waiting) things_.erase(entry);
    changed_.NotifyAll();
  }

  Clock& clock_;
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Thing> things_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
