#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/telemetry/metrics.h"
#include "server/process/bounded_program.h"
#include "server/store/job_store.h"

namespace graft {

struct JobEndOptions {
  std::string program;
  std::string server;  // The users' address: its GRAFT_SERVER.
  absl::Duration limit = absl::Seconds(60);
  int at_once = 4;
  // Between two tries of a program that cannot be started: doubles from the first to the last.
  absl::Duration first_retry_delay = absl::Seconds(1);
  absl::Duration last_retry_delay = absl::Minutes(5);
  Clock* clock = &Clock::Real();
};

// INVALID_ARGUMENT: it is no program that could be run.
absl::Status CheckJobEndProgram(const std::string& program);

// Runs a program at each job's end, a few at once: the job as JSON on its standard input, what it
// says in the log. The store keeps the mark of an end (StoreOptions::mark_ends) until its program
// has run, so that a server that is killed in between runs it after its next start: once, or twice
// where it was killed while the program ran; a program that fails is not run again. Marks are what
// queues, so there is nothing to be dropped. Owns its threads, which are the only ones to wait for
// a program.
class JobEndPrograms {
 public:
  // The store must outlive it.
  JobEndPrograms(JobEndOptions options, JobStore& store, MetricRegistry& metrics);
  ~JobEndPrograms();

  // Begins no further one, and waits for those that run, for `time` at the most; then they get
  // SIGTERM, and after a second SIGKILL, and are run anew after the next start.
  void Stop(absl::Duration time) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();
  // The next end, which is then in hand. Blocks; nothing: it is to stop.
  std::optional<std::string> Take() ABSL_LOCKS_EXCLUDED(mutex_);
  // Reads which ends wait.
  void Look() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<ProgramEnd> RunProgram(const v1::Job& job);
  // False: it has not run, and is to be tried again.
  bool RunFor(const std::string& job);
  // False: to be tried again.
  bool ForgetEnd(const std::string& job);

  const JobEndOptions options_;
  JobStore& store_;
  CounterFamily& programs_;
  StopSignal stop_;       // No further one.
  StopSignal cut_short_;  // Those that run are to end.
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> waiting_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> in_hand_ ABSL_GUARDED_BY(mutex_);
  bool look_ ABSL_GUARDED_BY(mutex_) = true;  // There may be more than those that wait.
  bool looking_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<std::string> done_meanwhile_
      ABSL_GUARDED_BY(mutex_);  // What is read may still have them.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<Subscription> subscription_;
  std::vector<std::thread> threads_;
};

}  // namespace graft
