#pragma once

// The worker: leases jobs from a server and runs them in engines.
//
//   Agent ─┬─ command thread: follows Connect; wakes slots, cancels, queues texts to generate
//          ├─ heartbeat thread: renews all leases, ends attempts that lost theirs
//          ├─ fence timer: suspends engines beyond their deadline, ends those that hang
//          ├─ slot threads (1..slots): LeaseJob ▸ Attempt; or texts; or a measurement; or wait
//          └─ guest thread: a batch of texts, between two steps of a job on the same base model
//
// It outlives engines that crash and servers that are away: an engine works on until its fence,
// events wait in the outbox. Engines outlive jobs and texts (EnginePool).

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/telemetry/metrics.h"
#include "graft/worker/v1/worker.pb.h"
#include "grpcpp/channel.h"
#include "worker/agent/attempts.h"
#include "worker/agent/cache_limit.h"
#include "worker/agent/engine_launcher.h"
#include "worker/agent/engine_pool.h"
#include "worker/agent/generator.h"
#include "worker/agent/input_cache.h"
#include "worker/agent/measurer.h"
#include "worker/agent/server_link.h"

namespace graft {

class Agent {
 public:
  struct Options {
    worker::v1::WorkerIdentity identity;
    std::string version;
    std::vector<std::string> devices;
    int slots = 1;
    bool serves_only = false;  // Leases no jobs: its slots are for texts.
    int engine_threads = 1;    // Of each engine, where a job does not say: told to the server.
    // Memory that each engine may take; 0: no bound.
    int64_t engine_memory_bytes = 0;
    std::string state_directory;  // Below it: work/, cache/.
    ServerLink::Options link;     // Its identity is filled in.
    // Of cache/; what was used longest ago is removed beyond it.
    int64_t cache_max_bytes = 20'000'000'000;
    // How long an engine may take to heed a cancel before it is killed, and the least time in which
    // one that does nothing is taken to hang.
    absl::Duration cancel_patience = absl::Seconds(30);
    absl::Duration least_hang_time = absl::Minutes(5);
    // An engine that has nothing to do is ended after so long.
    absl::Duration engine_idle = absl::Minutes(5);
    // Called after each round of heartbeats, whether the server heard it or not, on the thread that
    // sends them; must be quick. Optional.
    std::function<void()> on_heartbeat;
  };
  // `launcher`, `clock` and `metrics` must outlive it.
  Agent(Options options, std::shared_ptr<grpc::Channel> channel, EngineLauncher& launcher,
        Clock& clock, MetricRegistry& metrics);
  // Stops.
  ~Agent();

  // Empties the work directory of what earlier runs left and starts the threads.
  absl::Status Start();
  // No more work is taken; texts that have begun are made, jobs saved and handed back, for so long
  // at the most. Returns at once; may be called again, to shorten it.
  void Leave(absl::Duration patience) ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for what Leave lets end, without it for nothing; ends the engines and joins the threads.
  // Safe to call twice.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Slot {
    std::unique_ptr<Generator> generator;
    std::thread thread;
  };

  void FollowCommands();
  void HandleCommand(const worker::v1::Command& command);
  // While every slot runs a job, a text would wait for hours, unless one of the jobs has room for
  // it.
  void RefuseTextsBehindJobs();
  void SendHeartbeats();
  void SendHeartbeat();
  // Tells the server, if it is there, that nobody should miss this worker.
  void SayGoodbye();
  void RunSlot(Slot& slot);
  void ServeGuests();
  // What the thread of a slot or of guests does, last of all.
  void EndThread() ABSL_LOCKS_EXCLUDED(mutex_);
  // Until these threads are over, or the time to leave in is.
  void WaitForThreads() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Duration TimeToLeave() ABSL_LOCKS_EXCLUDED(mutex_);
  // Runs a job on the text's base model here?
  bool HasRoomBesideJob(const worker::v1::Command::Generate& text);
  // Serves a text, a job or a measurement, if there is one. False: there was nothing to do.
  bool Work(Slot& slot);
  bool RunNextJob();
  bool MeasureNext();
  void TrimInputs();
  void WakeSlots() ABSL_LOCKS_EXCLUDED(mutex_);
  // Returns after a wake-up that came after `seen`, or the interval; the wake-ups so far.
  int64_t WaitForWakeUp(int64_t seen, absl::Duration interval) ABSL_LOCKS_EXCLUDED(mutex_);
  Attempt::Options AttemptOptions();
  // What engines are known to compute with, for the next lease.
  void Learn(const engine::v1::Hello& hello) ABSL_LOCKS_EXCLUDED(mutex_);
  std::optional<worker::v1::Capabilities> capabilities() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Duration heartbeat_timeout() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Duration heartbeat_interval() ABSL_LOCKS_EXCLUDED(mutex_);
  bool welcomed() ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  Clock& clock_;
  ServerLink link_;
  InputCache inputs_;
  CacheLimit cache_limit_;
  EnginePool engines_;
  GenerationQueue generations_;
  Measurer measurer_;
  StopSignal stop_;    // No more work is taken.
  StopSignal silent_;  // No more heartbeats are sent: there is nothing left to renew.
  Attempts attempts_;
  std::atomic<int> busy_slots_ = 0;    // With a job or a text.
  std::atomic<int> running_jobs_ = 0;  // Slots with a job.
  std::atomic<int64_t> engine_crashes_ = 0;
  int64_t acknowledged_crashes_ = 0;  // The heartbeat thread's own; Stop's, when it has ended.

  MetricFamily<prometheus::Counter>& attempts_total_;
  MetricFamily<prometheus::Counter>& engine_crashes_total_;
  MetricFamily<prometheus::Counter>& heartbeats_total_;
  MetricFamily<prometheus::Gauge>& busy_slots_gauge_;

  Mutex mutex_;
  CondVar woken_;
  int64_t wake_ups_ ABSL_GUARDED_BY(mutex_) = 0;
  worker::v1::Command::Welcome welcome_ ABSL_GUARDED_BY(mutex_);
  std::optional<worker::v1::Capabilities> capabilities_ ABSL_GUARDED_BY(mutex_);
  absl::Duration leave_by_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();  // Boottime.
  int working_threads_ ABSL_GUARDED_BY(mutex_) = 0;  // Of slots and guests.

  std::vector<Slot> slots_;
  Slot guest_;
  std::thread command_thread_;
  std::thread heartbeat_thread_;
};

}  // namespace graft
