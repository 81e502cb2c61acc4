#include "worker/engine/run/command_queue.h"

#include <algorithm>
#include <utility>

#include "worker/engine/session/session.h"

namespace graft {

using engine::v1::EngineCommand;

namespace {

BaseModel BaseOf(const engine::v1::Generate& text) {
  return {text.base_model_directory(), text.base_model_sha256()};
}

}  // namespace

void CommandQueue::Handle(EngineCommand command) {
  MutexLock lock(mutex_);
  std::shared_ptr<JobControl> control;
  switch (command.command_case()) {
    case EngineCommand::kCancel:
      if (command.row() >= 0) ControlOf(command)->Cancel();
      for (auto& [subject, named] : controls_) {
        if (command.row() < 0 && subject.first == command.job()) named->Cancel();
      }
      return;
    case EngineCommand::kPause:
      ControlOf(command)->Pause();
      return;
    case EngineCommand::kSaveCheckpoint:
      ControlOf(command)->RequestCheckpoint(command.save_checkpoint().step());
      return;
    case EngineCommand::kFence:
      ControlOf(command)->SetFence(command.fence().boottime_ns());
      return;
    case EngineCommand::kRun:
    case EngineCommand::kMeasure:
    case EngineCommand::kGenerate:
      control = ControlOf(command);
      break;
    case EngineCommand::kShutdown:
      for (auto& [subject, named] : controls_) named->Cancel();
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

std::optional<CommandQueue::Work> CommandQueue::NextText(const engine::v1::Generate* like) {
  MutexLock lock(mutex_);
  const auto text = std::find_if(waiting_.begin(), waiting_.end(), [&](const Work& work) {
    return work.command.has_generate() &&
           (like == nullptr || IsSameContent(BaseOf(work.command.generate()), BaseOf(*like)));
  });
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

void CommandQueue::Finish(const EngineCommand& command) {
  MutexLock lock(mutex_);
  controls_.erase(SubjectOf(command));
}

// Cancel, Pause and their like may overtake the Run that they are about, so every name gets a
// control.
std::shared_ptr<JobControl> CommandQueue::ControlOf(const EngineCommand& command) {
  if (controls_.size() >= kMaxControls) {  // Left by commands about jobs that had ended.
    for (auto it = controls_.begin(); it != controls_.end();) {
      it = it->second.use_count() == 1 ? controls_.erase(it) : std::next(it);
    }
  }
  std::shared_ptr<JobControl>& control = controls_[SubjectOf(command)];
  if (control == nullptr) control = std::make_shared<JobControl>();
  return control;
}

}  // namespace graft
