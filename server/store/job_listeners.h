#pragma once

// Who wants to hear of committed changes, and the thread that tells them: in the order in which the
// changes were enqueued, under no lock. Of a job to which only events were added, again and again,
// the last change is told alone. Thread-safe.

#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/store/job_store.h"

namespace graft {

// Changes that wait to be told; beyond, whoever is about to commit more waits (WaitForRoom). A
// commit adds those of its writes, so that there may be a few hundred more.
inline constexpr size_t kMaxUndelivered = 1000;

// Owns its thread, which tells all that was enqueued before it ends.
class JobListeners {
 public:
  JobListeners();
  ~JobListeners();

  // `job` empty: hears of every job. The subscription may outlive this.
  std::unique_ptr<Subscription> Subscribe(absl::string_view job, JobListener listener);

  // Adds changes to tell; called in commit order, a lock may be held.
  void Enqueue(std::vector<JobChange> changes);
  // Blocks while kMaxUndelivered changes or more wait. To be called before a commit, under no lock
  // that a listener or a read takes, and by no listener.
  void WaitForRoom();
  // Tells what is left and ends the thread. Nothing may be enqueued afterwards.
  void Stop();

 private:
  struct Listener;
  struct State;
  class JobSubscription;
  static void Call(Listener& listener, const JobChange& change);
  // The thread.
  static void Deliver(State& state);

  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace graft
