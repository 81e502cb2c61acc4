#pragma once

// One attempt at a job, from its lease to its end.
//
//   slot thread ──── Run: inputs ▸ engine ▸ what it says into the outbox ▸ result ▸ FinishAttempt
//   heartbeat ────── Renew, End(lease lost), ────────┐
//                    WantCheckpoint, Pause, Cancel,  │
//                    SaveAndCancel                   │
//   command stream ─ Pause, Cancel, SaveAndCancel ───┤
//   Agent::Leave ─── Leave ──────────────────────────┤
//   fence timer ──── Enforce: suspends, kills, hung ─┼─▶ the same attempt, which ends one way
//   outbox ───────── End(refused) ───────────────────┘
//
// Whatever ends it is heard in every phase: it stops the attempt's own token, which the downloads,
// the retries and the uploads obey, and kills the engine. What the server is told then follows from
// why it ended, in one place (Settle).
//
// The engine is borrowed. It goes back to the pool after a clean end only: it said that it has
// finished, by no fault of its own, and was neither suspended nor killed.
//
// Self-fencing: a renewal moves the engine's deadline to (sending time of the heartbeat + lease -
// margin) on CLOCK_BOOTTIME. The engine blocks itself there; one that does not is suspended by
// signal.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/engine_pool.h"
#include "worker/agent/input_cache.h"
#include "worker/agent/pulse_watch.h"
#include "worker/agent/server_link.h"

namespace graft {

class Outbox;

// Run is for the slot's thread, once; the rest may be called from any, and never blocks.
class Attempt {
 public:
  struct Options {
    // It works in a folder below, which is removed when it is over.
    std::string work_directory;
    // Token ids and the like, shared by all attempts.
    std::string cache_directory;
    int64_t memory_budget_bytes = 0;  // Of its engine; 0: no bound.
    // How long an engine may take to heed a cancel before it is killed.
    absl::Duration cancel_patience = absl::Seconds(30);
    // An engine that does nothing is never killed for it earlier than this.
    absl::Duration least_hang_time = absl::Minutes(5);
  };
  struct Parts {
    ServerLink& link;
    InputCache& inputs;
    EnginePool& engines;
    Clock& clock;
  };
  // Why it ends before its engine has. A greater one takes the place of a smaller one.
  enum class EndReason {
    kNone,
    kHung,         // The engine did nothing for too long.
    kRefused,      // The server refuses what is reported.
    kWorkerStops,  // The job is handed back as it was last saved.
    kLeaseLost,    // It is somebody else's, or nobody's: the server is told nothing.
  };
  // For telemetry.
  struct Outcome {
    bool engine_crashed = false;
    // "succeeded", "failed", "cancelled", "paused", "returned", "abandoned".
    std::string result;
  };

  // `deadline`: of the lease, on CLOCK_BOOTTIME. `parts` outlive it.
  Attempt(Options options, const Parts& parts, worker::v1::Lease lease, absl::Duration deadline);

  const std::string& job() const { return lease_.job(); }
  int64_t lease_epoch() const { return lease_.lease_epoch(); }

  // Blocks until the server knows how the attempt ended, or need not.
  Outcome Run();

  void Renew(absl::Duration deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  // The job is to be cancelled. Asks the engine to stop; without one the attempt ends at once.
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);
  // The job is to be cancelled, but saved first: it ends as for a pause. Cancel does not wait for
  // it any more.
  void SaveAndCancel() ABSL_LOCKS_EXCLUDED(mutex_);
  // The job is to be paused: the engine ends its step, saves and stops. Without one the attempt
  // ends at once. However long the step takes: an engine that hangs is found as always.
  void Pause() ABSL_LOCKS_EXCLUDED(mutex_);
  // The worker stops: the same, but the job is handed back. What is not over after `patience` is
  // ended as it is (kWorkerStops). May be called again: the shorter patience counts.
  void Leave(absl::Duration patience) ABSL_LOCKS_EXCLUDED(mutex_);
  // A checkpoint of this step or a later one is asked for, which the server does not have yet; 0:
  // none is. The engine is told once.
  void WantCheckpoint(int64_t step) ABSL_LOCKS_EXCLUDED(mutex_);
  // Kills the engine, and stops everything else.
  void End(EndReason reason, absl::Status why) ABSL_LOCKS_EXCLUDED(mutex_);
  // Applies what the passing of time demands; called every fraction of a second.
  void Enforce() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::StatusOr<engine::v1::Run> PrepareRun();
  // DATA_LOSS (CHECKPOINT_CORRUPT): it is corrupt in the server's store.
  absl::StatusOr<std::string> CheckpointFolder(InputCache::Hashing hashing);
  worker::v1::FinishAttemptRequest EndOfEngine(const engine::v1::Finished& finished);
  // Everything up to the engine's end; returns what to tell the server if nothing else ends it.
  worker::v1::FinishAttemptRequest Work(Outbox& outbox);
  // From here on a pause is the engine's to heed. False: it came before.
  bool BeginEngine() ABSL_LOCKS_EXCLUDED(mutex_);
  // Of a pause that was heeded, whoever wanted it.
  worker::v1::FinishAttemptRequest EndOfPause() const ABSL_LOCKS_EXCLUDED(mutex_);
  worker::v1::FinishAttemptRequest RunEngine(const engine::v1::Run& run, Outbox& outbox);
  // Reads the engine until it has finished. OUT_OF_RANGE and its like: it is gone.
  absl::StatusOr<engine::v1::Finished> ReadEngine(EngineLoan& engine, Outbox& outbox);
  // Of an engine that ended before it said that it has finished.
  worker::v1::FinishAttemptRequest EndOfCrash(EngineLoan& engine, const absl::Status& read);
  // Into the outbox, which may block.
  void Pass(const engine::v1::EngineEvent& event, Outbox& outbox);
  // Files of the result, to the server.
  absl::Status UploadResult(const worker::v1::FinishAttemptRequest::Succeeded& succeeded,
                            Outbox& outbox);
  // Tells the server the end of `request`, or that of what ended the attempt.
  absl::Status Settle(worker::v1::FinishAttemptRequest request, Outbox& outbox);
  // The end that the engine's own is, after everything before it. `request` becomes another end
  // where its result cannot be uploaded. Not OK: the server was not told.
  absl::Status TellEnd(worker::v1::FinishAttemptRequest& request, Outbox& outbox);
  // One try: without it the job waits for its lease to expire. What the outbox still holds will be
  // said again by the run that resumes.
  void HandBack(worker::v1::FinishAttemptRequest request);
  void LogEnd(const worker::v1::FinishAttemptRequest& request);

  // It is to be paused, to save before it is cancelled, or its worker stops.
  bool asked_to_pause() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return paused_ || cancel_saves_ || leaves_;
  }
  // One more reason to.
  void AskToPause(bool& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndLocked(EndReason reason, absl::Status why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Attach(EngineLoan* engine) ABSL_LOCKS_EXCLUDED(mutex_);
  // From here on nothing acts on the engine any more. False: something has, of which the next job
  // on it must not know.
  bool Detach() ABSL_LOCKS_EXCLUDED(mutex_);
  void SetReading(bool reading) ABSL_LOCKS_EXCLUDED(mutex_);
  void Observe(const engine::v1::EngineEvent& event) ABSL_LOCKS_EXCLUDED(mutex_);
  void KillEngine() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  EndReason ended() const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status why() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool cancelled() const ABSL_LOCKS_EXCLUDED(mutex_);
  void SendFence() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendCancel() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendPause() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendCheckpointRequest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Time in which the engine waits for others is not its own.
  void UpdateWaiting(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const Parts parts_;
  const worker::v1::Lease lease_;
  const std::string directory_;  // The engine's, for this attempt.
  const std::string engine_log_;

  // Inputs, engine and result. Stopped by a cancel, too, where no engine can heed it, and by a
  // pause before there is one.
  StopSignal work_;
  // Checkpoints on their way to the server. Stopped, too, when a cancel has waited for them for
  // long.
  StopSignal checkpoints_;
  // What the server is told. Stopped when it must not be told any more, or need not.
  StopSignal reports_;

  mutable Mutex mutex_;
  EngineLoan* engine_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Duration deadline_ ABSL_GUARDED_BY(mutex_);
  absl::Duration kill_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  bool suspended_ ABSL_GUARDED_BY(mutex_) = false;
  bool killed_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancel_saves_ ABSL_GUARDED_BY(mutex_) = false;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool leaves_ ABSL_GUARDED_BY(mutex_) = false;  // The worker stops.
  absl::Duration leave_by_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  int64_t wanted_checkpoint_ ABSL_GUARDED_BY(mutex_) = 0;  // Its step.
  bool engine_began_ ABSL_GUARDED_BY(mutex_) = false;
  EndReason ended_ ABSL_GUARDED_BY(mutex_) = EndReason::kNone;
  absl::Status why_ ABSL_GUARDED_BY(mutex_);
  PulseWatch pulse_ ABSL_GUARDED_BY(mutex_);
  int64_t last_pulse_ ABSL_GUARDED_BY(mutex_) = 0;
  v1::JobStage stage_ ABSL_GUARDED_BY(mutex_) = v1::JOB_STAGE_UNSPECIFIED;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;  // The engine is being listened to.
  bool engine_waits_ ABSL_GUARDED_BY(mutex_) = false;

  Outcome outcome_;     // The slot thread's own.
  bool heard_ = false;  // Its engine has said something. The slot thread's own.
};

}  // namespace graft
