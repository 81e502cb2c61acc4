#include "worker/agent/shared_engine.h"

#include <utility>

namespace graft {

void SharedEngine::Open(const std::string& subject, Kind kind) {
  MutexLock lock(mutex_);
  mailboxes_[subject].kind = kind;
  if (kind == Kind::kText) texts_.insert(subject);
}

void SharedEngine::Close(const std::string& subject) {
  MutexLock lock(mutex_);
  mailboxes_.erase(subject);
  changed_.NotifyAll();
}

absl::StatusOr<engine::v1::EngineEvent> SharedEngine::Read(const std::string& subject) {
  MutexLock lock(mutex_);
  for (;;) {
    Mailbox& mailbox = mailboxes_[subject];
    if (!mailbox.events.empty()) {
      engine::v1::EngineEvent event = std::move(mailbox.events.front());
      mailbox.events.pop_front();
      changed_.NotifyAll();
      return event;
    }
    if (!broken_.ok()) return broken_;
    if (reading_) {
      changed_.Wait(mutex_);
      continue;
    }
    reading_ = true;
    mutex_.Unlock();
    absl::StatusOr<engine::v1::EngineEvent> event = process_->Read();
    if (event.ok() && event->has_hello() && on_hello_) on_hello_(event->hello());
    mutex_.Lock();
    if (!event.ok()) {
      broken_ = event.status();
      if (!texts_at_work_.empty()) ended_by_text_ = true;
      StopReading();
      continue;
    }
    Note(*event);
    if (event->job() == subject || event->job().empty()) {
      StopReading();
      return event;
    }
    Deliver(*std::move(event));
    StopReading();
  }
}

void SharedEngine::StopReading() {
  reading_ = false;
  changed_.NotifyAll();
}

bool SharedEngine::IsAtWorkOn(const std::string& subject) const {
  const auto first = texts_at_work_.lower_bound({subject, 0});
  return first != texts_at_work_.end() && first->first == subject;
}

void SharedEngine::Note(const engine::v1::EngineEvent& event) {
  if (!texts_.contains(event.job())) return;
  const Text text(event.job(), event.row());
  if (event.has_progress()) texts_at_work_.insert(text);
  if (!event.has_finished() && !event.generated().done()) return;
  // At once: what the job beside it says next is the text's fault.
  if (event.finished().engine_is_broken()) ended_by_text_ = true;
  texts_at_work_.erase(text);
  if (!mailboxes_.contains(event.job()) && !IsAtWorkOn(event.job())) texts_.erase(event.job());
}

void SharedEngine::KillBecauseOf(const std::string& text) {
  {
    MutexLock lock(mutex_);
    texts_at_work_.insert({text, 0});
  }
  process_->Kill();
}

bool SharedEngine::WasEndedByText() {
  MutexLock lock(mutex_);
  return ended_by_text_;
}

void SharedEngine::Deliver(engine::v1::EngineEvent event) {
  for (;;) {
    const auto it = mailboxes_.find(event.job());
    if (it == mailboxes_.end()) return;
    if (it->second.kind == Kind::kText || it->second.events.size() < kMaxWaiting) {
      it->second.events.push_back(std::move(event));
      return;
    }
    changed_.Wait(mutex_);
  }
}

EngineProcess::End SharedEngine::WaitForEnd() {
  MutexLock lock(end_mutex_);
  if (!end_.has_value()) end_ = process_->WaitForEnd();
  return *end_;
}

}  // namespace graft
