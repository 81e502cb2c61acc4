#pragma once

// What a service tells systemd (Type=notify, WatchdogSec=): datagrams to the socket that
// NOTIFY_SOCKET names, as sd_notify(3) describes them.

#include <functional>
#include <string>
#include <thread>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"

namespace graft {

// Where nobody asked, nobody is told: then all of it does nothing. Thread-safe.
class ServiceManager {
 public:
  // Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, lest a child speaks
  // for this process. Before there are other threads.
  static ServiceManager FromEnvironment();

  // "at 127.0.0.1:50051": shown by systemctl status.
  void Ready(absl::string_view status) const;
  void Stopping() const;
  void Alive() const;
  // Longer than that without Alive(), and the process is killed; InfiniteDuration: nobody watches.
  absl::Duration watchdog() const { return watchdog_; }

 private:
  void Notify(absl::string_view message) const;

  std::string socket_;  // Empty: none.
  absl::Duration watchdog_ = absl::InfiniteDuration();
};

// Says Alive() as often as it must be, each time after `prove` has come back: what that waits for
// makes progress. Without a watchdog it is never called. Owns a thread; its end waits for `prove`.
class Watchdog {
 public:
  // The manager must outlive it.
  Watchdog(const ServiceManager& manager, std::function<void()> prove, Clock& clock);
  ~Watchdog();

 private:
  StopSignal stop_;
  std::thread thread_;
};

}  // namespace graft
