#include "worker/engine/run/command_queue.h"

#include <algorithm>
#include <utility>

namespace graft {

using engine::v1::EngineCommand;

void CommandQueue::Handle(EngineCommand command) {
  MutexLock lock(mutex_);
  std::shared_ptr<JobControl> control;
  switch (command.command_case()) {
    case EngineCommand::kCancel:
      ControlOf(command.job())->Cancel();
      return;
    case EngineCommand::kPause:
      ControlOf(command.job())->Pause();
      return;
    case EngineCommand::kSaveCheckpoint:
      ControlOf(command.job())->RequestCheckpoint(command.save_checkpoint().step());
      return;
    case EngineCommand::kFence:
      ControlOf(command.job())->SetFence(command.fence().boottime_ns());
      return;
    case EngineCommand::kRun:
    case EngineCommand::kMeasure:
    case EngineCommand::kGenerate:
      control = ControlOf(command.job());
      break;
    case EngineCommand::kShutdown:
      for (auto& [job, named] : controls_) named->Cancel();
      break;
    case EngineCommand::COMMAND_NOT_SET:
      return;
  }
  // The reader waits rather than drop a command; the worker sends no more than a few.
  while (waiting_.size() >= kMaxWaiting) changed_.Wait(mutex_);
  waiting_.push_back({std::move(command), std::move(control)});
  changed_.NotifyAll();
}

std::optional<CommandQueue::Work> CommandQueue::Next() {
  MutexLock lock(mutex_);
  while (waiting_.empty()) changed_.Wait(mutex_);
  Work work = std::move(waiting_.front());
  waiting_.pop_front();
  changed_.NotifyAll();
  if (work.command.has_shutdown()) return std::nullopt;
  return work;
}

std::optional<CommandQueue::Work> CommandQueue::NextText() {
  MutexLock lock(mutex_);
  const auto text = std::find_if(waiting_.begin(), waiting_.end(),
                                 [](const Work& work) { return work.command.has_generate(); });
  if (text == waiting_.end()) return std::nullopt;
  Work work = std::move(*text);
  waiting_.erase(text);
  changed_.NotifyAll();
  return work;
}

void CommandQueue::PutBack(Work work) {
  MutexLock lock(mutex_);
  waiting_.push_front(std::move(work));
}

void CommandQueue::Finish(const std::string& job) {
  MutexLock lock(mutex_);
  controls_.erase(job);
}

// Cancel, Pause and their like may overtake the Run that they are about, so every name gets a
// control.
std::shared_ptr<JobControl> CommandQueue::ControlOf(const std::string& job) {
  if (controls_.size() >= kMaxControls) {  // Left by commands about jobs that had ended.
    for (auto it = controls_.begin(); it != controls_.end();) {
      it = it->second.use_count() == 1 ? controls_.erase(it) : std::next(it);
    }
  }
  std::shared_ptr<JobControl>& control = controls_[job];
  if (control == nullptr) control = std::make_shared<JobControl>();
  return control;
}

}  // namespace graft
