#pragma once

// Engines that do what a test's script says, on the thread that reads them.

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "worker/agent/engine_launcher.h"

namespace graft {

// Commands that the agent sent, and events that the test lets the engine say. Thread-safe; shared
// by the test and the engine.
class EngineScript {
 public:
  // What follows is said as soon as it is read.
  void Say(const engine::v1::EngineEvent& event) {
    MutexLock lock(mutex_);
    events_.push_back(event);
    changed_.NotifyAll();
  }
  void Metrics(int64_t step) {
    engine::v1::EngineEvent event;
    event.mutable_job_event()->mutable_metrics()->set_step(step);
    Say(event);
  }
  void Finish(int code = 0) {
    engine::v1::EngineEvent event;
    event.mutable_finished()->mutable_status()->set_code(code);
    Say(event);
  }
  // It says something that is no event.
  void Garble() {
    MutexLock lock(mutex_);
    garbled_ = true;
    changed_.NotifyAll();
  }
  // It is on its way out, though nobody can see it yet.
  void DieOfNextRun() {
    MutexLock lock(mutex_);
    dies_of_run_ = true;
  }
  // The process is gone.
  void Crash() {
    MutexLock lock(mutex_);
    dead_ = true;
    changed_.NotifyAll();
  }
  // The first command of a kind, as soon as it came.
  engine::v1::EngineCommand WaitForCommand(engine::v1::EngineCommand::CommandCase kind) {
    MutexLock lock(mutex_);
    for (;;) {
      for (const auto& command : commands_) {
        if (command.command_case() == kind) return command;
      }
      changed_.Wait(mutex_);
    }
  }
  void WaitForCommands(engine::v1::EngineCommand::CommandCase kind, int64_t count) {
    MutexLock lock(mutex_);
    while (CountLocked(kind) < count) changed_.Wait(mutex_);
  }
  int64_t Count(engine::v1::EngineCommand::CommandCase kind) {
    MutexLock lock(mutex_);
    return CountLocked(kind);
  }
  // The latest command; an empty one before the first.
  engine::v1::EngineCommand LastCommand() {
    MutexLock lock(mutex_);
    return commands_.empty() ? engine::v1::EngineCommand() : commands_.back();
  }
  // Forgets the commands so far, for the next WaitForCommand.
  void ForgetCommands() {
    MutexLock lock(mutex_);
    commands_.clear();
  }
  // How much of what was said nobody has read.
  int64_t unheard() {
    MutexLock lock(mutex_);
    return static_cast<int64_t>(events_.size());
  }
  void WaitForDeath() {
    MutexLock lock(mutex_);
    while (!dead_) changed_.Wait(mutex_);
  }
  bool dead() {
    MutexLock lock(mutex_);
    return dead_;
  }
  bool suspended() {
    MutexLock lock(mutex_);
    return suspended_;
  }
  // Everything that was said has been heard, and dealt with.
  void WaitUntilHeard() {
    MutexLock lock(mutex_);
    while (!listening_ || !events_.empty()) changed_.Wait(mutex_);
  }
  void Suspend(bool suspended) {
    MutexLock lock(mutex_);
    suspended_ = suspended;
  }

  absl::Status Command(const engine::v1::EngineCommand& command) {
    MutexLock lock(mutex_);
    commands_.push_back(command);
    if (command.has_run()) job_ = command.job();
    if (command.has_run() && dies_of_run_) dead_ = true;
    changed_.NotifyAll();
    return absl::OkStatus();
  }
  absl::StatusOr<engine::v1::EngineEvent> Next() {
    MutexLock lock(mutex_);
    listening_ = true;
    changed_.NotifyAll();
    while (events_.empty() && !dead_ && !garbled_) changed_.Wait(mutex_);
    listening_ = false;
    if (events_.empty() && garbled_) return absl::DataLossError("no EngineEvent");
    if (events_.empty()) return absl::OutOfRangeError("end");
    engine::v1::EngineEvent event = events_.front();
    events_.pop_front();
    if (event.job().empty() && !event.has_hello()) event.set_job(job_);
    return event;
  }

 private:
  int64_t CountLocked(engine::v1::EngineCommand::CommandCase kind) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::count_if(commands_.begin(), commands_.end(),
                         [&](const auto& command) { return command.command_case() == kind; });
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<engine::v1::EngineEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::vector<engine::v1::EngineCommand> commands_ ABSL_GUARDED_BY(mutex_);
  bool dead_ ABSL_GUARDED_BY(mutex_) = false;
  bool dies_of_run_ ABSL_GUARDED_BY(mutex_) = false;
  std::string job_ ABSL_GUARDED_BY(mutex_);  // The latest: what is said is about it.
  bool garbled_ ABSL_GUARDED_BY(mutex_) = false;
  bool suspended_ ABSL_GUARDED_BY(mutex_) = false;
  bool listening_ ABSL_GUARDED_BY(mutex_) = false;
};

class ScriptedEngine : public EngineProcess {
 public:
  explicit ScriptedEngine(std::shared_ptr<EngineScript> script) : script_(std::move(script)) {}
  ~ScriptedEngine() override { script_->Crash(); }
  absl::Status Send(const engine::v1::EngineCommand& command) override {
    return script_->Command(command);
  }
  absl::StatusOr<engine::v1::EngineEvent> Read() override { return script_->Next(); }
  bool IsAlive() override { return !script_->dead(); }
  void Kill() override { script_->Crash(); }
  void Suspend(bool suspended) override { script_->Suspend(suspended); }
  End WaitForEnd() override { return {"signal 9 (Killed)", false}; }

 private:
  const std::shared_ptr<EngineScript> script_;
};

// The n-th engine that is launched follows the n-th script.
class ScriptedLauncher : public EngineLauncher {
 public:
  std::shared_ptr<EngineScript> Script(size_t n) {
    MutexLock lock(mutex_);
    while (scripts_.size() <= n) scripts_.push_back(std::make_shared<EngineScript>());
    return scripts_[n];
  }
  size_t launched() {
    MutexLock lock(mutex_);
    return launched_;
  }
  // No engine starts any more.
  void FailWith(absl::Status status) {
    MutexLock lock(mutex_);
    failure_ = std::move(status);
  }
  absl::StatusOr<std::unique_ptr<EngineProcess>> Launch(const std::string&) override {
    size_t n;
    {
      MutexLock lock(mutex_);
      if (!failure_.ok()) return failure_;
      n = launched_++;
    }
    return std::make_unique<ScriptedEngine>(Script(n));
  }

 private:
  Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  size_t launched_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::shared_ptr<EngineScript>> scripts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
