#pragma once

// Who wants to hear of committed changes. Thread-safe. Changes are told in the order in which they
// were enqueued, by one thread at a time, under no lock.

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "server/store/job_store.h"

namespace graft {

class JobListeners {
 public:
  // `job` empty: hears of every job. The subscription may outlive this.
  std::unique_ptr<Subscription> Subscribe(absl::string_view job, JobListener listener);

  // Adds changes to tell; called in commit order, a lock may be held.
  void Enqueue(std::vector<JobChange> changes);
  // Tells what was enqueued, unless another thread is doing so (it will then tell these too). Must
  // be called after Enqueue, with no lock held.
  void Deliver();

 private:
  struct Listener;
  struct State;
  class JobSubscription;
  static void Call(Listener& listener, const JobChange& change);

  std::shared_ptr<State> state_ = MakeState();
  static std::shared_ptr<State> MakeState();
};

}  // namespace graft
