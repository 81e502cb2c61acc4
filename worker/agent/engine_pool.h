#pragma once

// The engines of this worker, which outlive the jobs and texts that they serve: the next one finds
// LibTorch loaded and often its base model too.
//
//   Attempt ──── EngineLoan ─┐
//                            ├─▶ SharedEngine ─▶ EngineProcess      in use
//   Generator ── EngineLoan ─┘
//                              SharedEngine ─▶ EngineProcess      idle: ended after a while
//
// An engine runs one job at once, and between two of its steps a text on the same base model: that
// is a guest. It comes back only after a clean end (GiveBack); every other end of a loan ends the
// engine, and with it all that others do on it. Guests leave without a trace.

#include <deque>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "worker/agent/engine_launcher.h"
#include "worker/agent/shared_engine.h"

namespace graft {

class EnginePool;

// An engine, borrowed for one job or text. Read and GiveBack are for one thread, the rest for any.
class EngineLoan {
 public:
  enum class Role { kJob, kText, kGuest };
  EngineLoan(EnginePool& pool, std::shared_ptr<SharedEngine> engine, std::string subject, Role role,
             bool was_idle);
  // Ends the engine, unless it was given back; a guest's text is merely cancelled.
  ~EngineLoan();
  EngineLoan(const EngineLoan&) = delete;
  EngineLoan& operator=(const EngineLoan&) = delete;

  // As those of EngineProcess. Send fills in what the command is about.
  absl::Status Send(engine::v1::EngineCommand command);
  absl::StatusOr<engine::v1::EngineEvent> Read() { return engine_->Read(subject_); }
  void Kill() { engine_->Kill(); }
  void Suspend(bool suspended) { engine_->Suspend(suspended); }
  EngineProcess::End WaitForEnd() { return engine_->WaitForEnd(); }
  // The engine said that this text has broken it: nobody else is to blame.
  void KillAsBroken() { engine_->KillBecauseOf(subject_); }
  // Another has borrowed it, for a job.
  bool is_guest() const { return role_ == Role::kGuest; }
  // It was not started for this: it may have died meanwhile.
  bool was_idle() const { return was_idle_; }
  // It ended by somebody else's text.
  bool WasEndedByText() { return engine_->WasEndedByText(); }

  // The engine has said the last about this job or text, and may serve others. Nothing else is
  // called after it.
  void GiveBack();

 private:
  EnginePool& pool_;
  const std::shared_ptr<SharedEngine> engine_;
  const std::string subject_;
  const Role role_;
  const bool was_idle_;
  bool given_back_ = false;
};

// Thread-safe. Owns one thread, which starts the engines (they die with the thread that started
// them) and ends those that are idle for long.
class EnginePool {
 public:
  struct Options {
    // An engine that nobody borrowed for so long is ended.
    absl::Duration idle = absl::Minutes(5);
    // What each engine that is started says of itself. May be empty.
    SharedEngine::HelloCallback on_hello;
  };
  // `launcher` and `clock` outlive it; no loan does.
  EnginePool(Options options, EngineLauncher& launcher, Clock& clock);
  ~EnginePool();

  // Who borrows, and what for.
  struct Borrower {
    std::string subject;  // The name of job or text towards the engine, never used before.
    bool is_text = false;
    std::string base;      // The base model's hash.
    std::string log_path;  // Standard error of an engine that has to be started.
  };
  // An idle engine that holds the base model, else (for a text) one that runs a job on it, else the
  // one that was idle longest, else a new one. Blocks while that starts; its status is why it did
  // not. CANCELLED after Stop.
  absl::StatusOr<std::unique_ptr<EngineLoan>> Borrow(const Borrower& borrower)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Only one that runs a job on the base model, for a text beside it; nullptr: there is none.
  std::unique_ptr<EngineLoan> Join(const Borrower& borrower) ABSL_LOCKS_EXCLUDED(mutex_);

  // Base models that engines hold, each once.
  struct Held {
    std::set<std::string> idle;
    std::set<std::string> with_job;  // Join finds them.
  };
  Held held() ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends all engines, those in use too, and starts none any more.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class EngineLoan;
  struct Entry {
    std::shared_ptr<SharedEngine> engine;
    std::string base;
    bool lent = false;
    bool runs_job = false;  // Lent for one.
    int guests = 0;
    absl::Duration idle_since;

    bool idle() const { return !lent && guests == 0; }
  };
  // A start that the pool's thread is asked for.
  struct Start {
    std::string log_path;
    bool done = false;
    absl::StatusOr<std::unique_ptr<EngineProcess>> process = absl::CancelledError("stopped");
  };
  using Engines = std::list<Entry>;

  void Run();
  absl::StatusOr<std::unique_ptr<EngineProcess>> Launch(const std::string& log_path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // One that is not lent; nullptr: there is none. Guests may still be there: their texts end first.
  Entry* FindFree(const std::string& base) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry* FindWithJob(const std::string& base) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveDead(Engines& dead) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::unique_ptr<EngineLoan> Lend(Entry& entry, const Borrower& borrower, bool was_idle)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::unique_ptr<EngineLoan> AddGuest(Entry& entry, const Borrower& borrower)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Return(const SharedEngine& engine, EngineLoan::Role role, bool reusable)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Takes out those that are idle since `until` or earlier.
  Engines TakeIdle(absl::Duration until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration NextEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  EngineLauncher& launcher_;
  Clock& clock_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Engines engines_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Start>> starts_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // Last: it uses everything above.
};

}  // namespace graft
