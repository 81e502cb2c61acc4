#pragma once

// The engines of this worker, which outlive the jobs and texts that they serve: the next one finds
// LibTorch loaded and often its base model too.
//
//   Attempt ──── EngineLoan ─┐
//                            ├─▶ SharedEngine ─▶ EngineProcess      in use
//   Generator ── EngineLoan ─┘
//                              SharedEngine ─▶ EngineProcess      idle: ended after a while
//
// An engine runs one job at once. It comes back only after a clean end (GiveBack); every other end
// of a loan ends the engine, and with it all that others do on it.

#include <deque>
#include <list>
#include <memory>
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
  EngineLoan(EnginePool& pool, std::shared_ptr<SharedEngine> engine, std::string subject,
             SharedEngine::Kind kind);
  // Ends the engine, unless it was given back.
  ~EngineLoan();
  EngineLoan(const EngineLoan&) = delete;
  EngineLoan& operator=(const EngineLoan&) = delete;

  // As those of EngineProcess. Send fills in what the command is about.
  absl::Status Send(engine::v1::EngineCommand command);
  absl::StatusOr<engine::v1::EngineEvent> Read() { return engine_->Read(subject_); }
  void Kill() { engine_->Kill(); }
  void Suspend(bool suspended) { engine_->Suspend(suspended); }
  EngineProcess::End WaitForEnd() { return engine_->WaitForEnd(); }

  // The engine has said the last about this job or text, and may serve others. Nothing else is
  // called after it.
  void GiveBack();

 private:
  EnginePool& pool_;
  const std::shared_ptr<SharedEngine> engine_;
  const std::string subject_;
  const SharedEngine::Kind kind_;
  bool given_back_ = false;
};

// Thread-safe. Owns one thread, which starts the engines (they die with the thread that started
// them) and ends those that are idle for long.
class EnginePool {
 public:
  struct Options {
    // An engine that nobody borrowed for so long is ended.
    absl::Duration idle = absl::Minutes(5);
  };
  // `launcher` and `clock` outlive it; no loan does.
  EnginePool(Options options, EngineLauncher& launcher, Clock& clock);
  ~EnginePool();

  // Who borrows, and what for.
  struct Borrower {
    std::string subject;  // The name of job or text towards the engine, never used before.
    SharedEngine::Kind kind = SharedEngine::Kind::kJob;
    std::string base;      // The base model's hash.
    std::string log_path;  // Standard error of an engine that has to be started.
  };
  // An idle engine that holds the base model, else the one that was idle longest, else a new one.
  // Blocks while that starts; its status is why it did not. CANCELLED after Stop.
  absl::StatusOr<std::unique_ptr<EngineLoan>> Borrow(const Borrower& borrower)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends all engines, those in use too, and starts none any more.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class EngineLoan;
  struct Entry {
    std::shared_ptr<SharedEngine> engine;
    std::string base;
    int loans = 0;
    bool runs_job = false;
    absl::Duration idle_since;
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
  Engines::iterator FindIdle(const std::string& base) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::unique_ptr<EngineLoan> Lend(Entry& entry, const Borrower& borrower)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Return(const SharedEngine& engine, SharedEngine::Kind kind, bool reusable)
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
