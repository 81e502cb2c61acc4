#include "server/serving/generation_broker.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"

namespace graft {

using worker::v1::Command;

absl::StatusOr<GenerationBroker::Handle> GenerationBroker::Submit(
    Command::Generate command, std::shared_ptr<StreamWaker> waker) {
  if (hub_.empty()) {
    return WithReason(
        absl::UnavailableError(
            "no worker is connected: start one (graft-server --workers 1, or graft-worker)"),
        kReasonNoWorker);
  }
  Handle generation;
  {
    MutexLock lock(mutex_);
    if (queue_.size() >= max_queued_) {
      return Overloaded(absl::StrCat(queue_.size(), " texts wait already; try again later"),
                        absl::Seconds(5));
    }
    command.set_id(absl::StrCat("g", next_id_++));
    generation = std::make_shared<Generation>(std::move(command), std::move(waker));
    queue_.push_back(generation);
  }
  Dispatch();
  return generation;
}

absl::StatusOr<SourceState> GenerationBroker::Next(const Handle& generation,
                                                   v1::GenerateResponse* response) {
  MutexLock lock(mutex_);
  if (!generation->messages_.empty()) {
    *response = std::move(generation->messages_.front());
    generation->messages_.pop_front();
    return SourceState::kMessage;
  }
  if (!generation->ended_) return SourceState::kWait;
  if (!generation->end_.ok()) return generation->end_;
  return SourceState::kEnd;
}

void GenerationBroker::Abandon(const Handle& generation) {
  Command command;
  std::string worker;
  {
    MutexLock lock(mutex_);
    if (generation->ended_) return;
    command.mutable_cancel_generate()->set_id(generation->command_.id());
    worker = generation->worker_;
    // The slot comes back when the worker ends its report.
    if (worker.empty() || !generation->claimed_) {
      std::erase(queue_, generation);
    }
    End(generation, absl::CancelledError("nobody waits for this text any more"));
  }
  if (!worker.empty()) hub_.Send(worker, std::move(command));
}

absl::StatusOr<GenerationBroker::Handle> GenerationBroker::Claim(const std::string& id,
                                                                 const std::string& worker) {
  MutexLock lock(mutex_);
  const auto it = running_.find(id);
  if (it == running_.end() || it->second->worker_ != worker || it->second->claimed_) {
    return absl::NotFoundError(absl::StrCat("nobody waits for text ", id, " of ", worker));
  }
  it->second->claimed_ = true;
  return it->second;
}

absl::Status GenerationBroker::Report(const Handle& generation, v1::GenerateResponse response) {
  {
    MutexLock lock(mutex_);
    if (generation->ended_) return generation->end_.ok() ? absl::OkStatus() : generation->end_;
    generation->begun_ = true;
    if (generation->messages_.size() >= kMaxGenerationMessages) {
      End(generation, absl::ResourceExhaustedError("the text was not read fast enough"));
      return generation->end_;
    }
    generation->messages_.push_back(std::move(response));
  }
  generation->waker_->Wake();
  return absl::OkStatus();
}

void GenerationBroker::Finish(const Handle& generation, const absl::Status& status) {
  std::string worker;
  {
    MutexLock lock(mutex_);
    worker = generation->worker_;
    if (!generation->ended_) {
      if (absl::IsUnavailable(status)) {
        MoveOrEnd(generation, status);
      } else {
        End(generation, status);
      }
    }
  }
  // A worker that was busy after all tells of its free slots with its next heartbeat.
  if (!absl::IsUnavailable(status)) hub_.AdjustFreeSlots(worker, +1);
  generation->waker_->Wake();
  Dispatch();
}

void GenerationBroker::WorkerLost(const std::string& worker) {
  const bool last = hub_.empty();
  const absl::Status status = absl::UnavailableError(
      last ? "the last worker was lost" : absl::StrCat("worker ", worker, " was lost"));
  std::vector<Handle> lost;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, generation] : running_) {
      // What it reports on ends with that report.
      if (generation->worker_ == worker && !generation->claimed_) lost.push_back(generation);
    }
    if (last) {
      lost.insert(lost.end(), queue_.begin(), queue_.end());
      queue_.clear();
    }
    for (const Handle& generation : lost) {
      if (last) {
        End(generation, status);
      } else {
        MoveOrEnd(generation, status);
      }
    }
  }
  for (const Handle& generation : lost) generation->waker_->Wake();
  Dispatch();
}

void GenerationBroker::Dispatch() {
  while (true) {
    {
      MutexLock lock(mutex_);
      if (queue_.empty()) return;
    }
    const std::string worker = hub_.TakeIdleWorker();
    if (worker.empty()) return;
    Handle generation;
    Command command;
    {
      MutexLock lock(mutex_);
      if (!queue_.empty()) {
        generation = queue_.front();
        queue_.pop_front();
        generation->worker_ = worker;
        running_[generation->command_.id()] = generation;
        *command.mutable_generate() = generation->command_;
      }
    }
    if (generation == nullptr) {
      hub_.AdjustFreeSlots(worker, +1);
      return;
    }
    if (!hub_.Send(worker, std::move(command))) {
      {
        MutexLock lock(mutex_);
        MoveOrEnd(generation, absl::UnavailableError(absl::StrCat("worker ", worker, " was lost")));
      }
      generation->waker_->Wake();
    }
  }
}

size_t GenerationBroker::queued() const {
  MutexLock lock(mutex_);
  return queue_.size();
}

void GenerationBroker::End(const Handle& generation, const absl::Status& status) {
  generation->ended_ = true;
  // A caller can tell it from a server that is not there.
  generation->end_ = absl::IsUnavailable(status) ? WithReason(status, kReasonNoWorker) : status;
  running_.erase(generation->command_.id());
}

void GenerationBroker::MoveOrEnd(const Handle& generation, const absl::Status& status) {
  if (generation->ended_) return;
  running_.erase(generation->command_.id());
  if (generation->begun_ || ++generation->moves_ > kMaxGenerationMoves) {
    End(generation, status);
    return;
  }
  generation->worker_.clear();
  generation->claimed_ = false;
  queue_.push_front(generation);
}

}  // namespace graft
