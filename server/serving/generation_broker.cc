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
  WorkerHub::TextPlace place;
  bool claimed = false;
  {
    MutexLock lock(mutex_);
    if (generation->ended_) return;
    command.mutable_cancel_generate()->set_id(generation->command_.id());
    place = generation->place_;
    claimed = generation->claimed_;
    // The place comes back when the worker ends its report.
    if (place.worker.empty() || !claimed) {
      std::erase(queue_, generation);
    }
    End(generation, absl::CancelledError("nobody waits for this text any more"));
  }
  if (place.worker.empty()) return;
  hub_.Send(place.worker, std::move(command));
  // Of what was not claimed no end is told; of slots heartbeats do.
  if (!claimed && place.beside_job) Leave(generation, place, /*refused=*/false);
}

absl::StatusOr<GenerationBroker::Handle> GenerationBroker::Claim(const std::string& id,
                                                                 const std::string& worker) {
  MutexLock lock(mutex_);
  const auto it = running_.find(id);
  if (it == running_.end() || it->second->place_.worker != worker || it->second->claimed_) {
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
  WorkerHub::TextPlace place;
  {
    MutexLock lock(mutex_);
    place = generation->place_;
    if (!generation->ended_) {
      if (absl::IsUnavailable(status)) {
        MoveOrEnd(generation, status);
      } else {
        End(generation, status);
      }
    }
  }
  Leave(generation, place, absl::IsUnavailable(status));
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
      if (generation->place_.worker == worker && !generation->claimed_) lost.push_back(generation);
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
  while (GiveFirst()) {
  }
}

bool GenerationBroker::GiveFirst() {
  std::vector<Handle> waiting;
  {
    MutexLock lock(mutex_);
    waiting.assign(queue_.begin(), queue_.end());
  }
  for (const Handle& generation : waiting) {
    const WorkerHub::TextPlace place =
        hub_.TakePlaceForText(generation->command_.base_model().sha256());
    if (place.worker.empty()) continue;
    Give(generation, place);
    return true;
  }
  return false;
}

void GenerationBroker::Give(const Handle& generation, const WorkerHub::TextPlace& place) {
  Command command;
  bool waits;
  {
    MutexLock lock(mutex_);
    waits = std::erase(queue_, generation) > 0;
    if (waits) {
      generation->place_ = place;
      running_[generation->command_.id()] = generation;
      *command.mutable_generate() = generation->command_;
    }
  }
  if (!waits) return Leave(generation, place, /*refused=*/false);
  if (hub_.Send(place.worker, std::move(command))) return;
  Leave(generation, place, /*refused=*/true);
  {
    MutexLock lock(mutex_);
    MoveOrEnd(generation,
              absl::UnavailableError(absl::StrCat("worker ", place.worker, " was lost")));
  }
  generation->waker_->Wake();
}

void GenerationBroker::Leave(const Handle& generation, const WorkerHub::TextPlace& place,
                             bool refused) {
  if (place.beside_job) {
    hub_.LeavePlaceBesideJob(place.worker, generation->command_.base_model().sha256(), refused);
  } else if (!refused) {
    // A worker that was busy after all tells of its free slots with its next heartbeat.
    hub_.AdjustFreeSlots(place.worker, +1);
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
  generation->place_ = {};
  generation->claimed_ = false;
  queue_.push_front(generation);
}

}  // namespace graft
