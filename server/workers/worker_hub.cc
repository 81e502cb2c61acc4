#include "server/workers/worker_hub.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/errors/status_details.h"

namespace graft {

using worker::v1::Command;
using worker::v1::ConnectRequest;

bool WorkerHub::Link::Send(Command command) {
  {
    MutexLock lock(mutex_);
    if (closed_) return false;
    if (commands_.size() >= kMaxQueuedCommands) {
      closed_ = true;
      end_ = absl::ResourceExhaustedError("this worker does not read its commands");
    } else {
      commands_.push_back(std::move(command));
    }
  }
  waker_->Wake();
  MutexLock lock(mutex_);
  return !closed_;
}

void WorkerHub::Link::Close(const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    end_ = status;
  }
  waker_->Wake();
}

absl::StatusOr<SourceState> WorkerHub::Link::Next(Command* command) {
  MutexLock lock(mutex_);
  if (closed_) return end_.ok() ? absl::StatusOr<SourceState>(SourceState::kEnd) : end_;
  if (commands_.empty()) return SourceState::kWait;
  *command = std::move(commands_.front());
  commands_.pop_front();
  return SourceState::kMessage;
}

absl::StatusOr<std::shared_ptr<WorkerHub::Link>> WorkerHub::Connect(
    const ConnectRequest& hello, std::shared_ptr<StreamWaker> waker) {
  const std::string& id = hello.worker().id();
  if (!IsSafeFileName(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker.id \"", id, "\" is not of the form [A-Za-z0-9._-]{1,128}"));
  }
  if (hello.slots() < 0 || hello.slots() > kMaxWorkerSlots) {
    return absl::InvalidArgumentError(
        absl::StrCat("slots must be 0 to ", kMaxWorkerSlots, ", not ", hello.slots()));
  }
  auto link = std::make_shared<Link>(hello, std::move(waker));
  std::shared_ptr<Link> replaced;
  {
    MutexLock lock(mutex_);
    if (workers_.count(id) == 0 && workers_.size() >= kMaxConnectedWorkers) {
      return Overloaded("too many workers are connected", absl::Seconds(30));
    }
    Entry& entry = workers_[id];
    replaced = std::move(entry.link);
    entry.link = link;
    entry.free_slots = hello.slots();
    entry.text_beside_job = false;
    entry.measures = false;
    entry.last_seen = clock_.Boottime();
  }
  if (replaced != nullptr) {
    replaced->Close(absl::AbortedError("this worker has connected again"));
  }
  return link;
}

bool WorkerHub::Disconnect(const std::shared_ptr<Link>& link) {
  link->Close(absl::OkStatus());
  MutexLock lock(mutex_);
  const auto it = workers_.find(link->hello().worker().id());
  if (it == workers_.end() || it->second.link != link) return false;
  workers_.erase(it);
  return true;
}

void WorkerHub::Seen(const std::string& worker, int free_slots, Bases bases) {
  MutexLock lock(mutex_);
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return;
  it->second.free_slots = std::clamp(free_slots, 0, it->second.link->hello().slots());
  it->second.bases = std::move(bases);
  it->second.last_seen = clock_.Boottime();
}

void WorkerHub::AdjustFreeSlots(const std::string& worker, int change) {
  MutexLock lock(mutex_);
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return;
  it->second.free_slots =
      std::clamp(it->second.free_slots + change, 0, it->second.link->hello().slots());
}

WorkerHub::TextPlace WorkerHub::TakePlaceForText(const std::string& base, bool needs_batching) {
  MutexLock lock(mutex_);
  auto best = workers_.end();
  const auto rank = [&](const Entry& entry) {
    const ConnectRequest& hello = entry.link->hello();
    return std::tuple(hello.serves_only(), entry.bases.idle.contains(base), hello.batches_texts(),
                      entry.free_slots);
  };
  for (auto it = workers_.begin(); it != workers_.end(); ++it) {
    if (it->second.free_slots == 0 || !MakesTexts(it->second, needs_batching)) continue;
    if (best == workers_.end() || rank(it->second) > rank(best->second)) best = it;
  }
  if (best == workers_.end() ||
      (!best->second.link->hello().serves_only() && !best->second.bases.idle.contains(base))) {
    for (auto& [id, entry] : workers_) {
      if (entry.text_beside_job || !entry.bases.busy.contains(base)) continue;
      if (!MakesTexts(entry, needs_batching)) continue;
      entry.text_beside_job = true;
      return {id, /*beside_job=*/true, entry.link->hello().batches_texts()};
    }
  }
  if (best == workers_.end()) return {};
  --best->second.free_slots;
  return {best->first, /*beside_job=*/false, best->second.link->hello().batches_texts()};
}

bool WorkerHub::CanMakeTexts(bool needs_batching) const {
  MutexLock lock(mutex_);
  return std::any_of(workers_.begin(), workers_.end(),
                     [&](const auto& worker) { return MakesTexts(worker.second, needs_batching); });
}

void WorkerHub::LeavePlaceBesideJob(const std::string& worker, const std::string& base,
                                    bool refused) {
  MutexLock lock(mutex_);
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return;
  it->second.text_beside_job = false;
  if (refused) it->second.bases.busy.erase(base);
}

std::string WorkerHub::TakeIdleWorker(const std::string& base) {
  MutexLock lock(mutex_);
  auto best = workers_.end();
  for (auto it = workers_.begin(); it != workers_.end(); ++it) {
    const Entry& entry = it->second;
    const ConnectRequest& hello = entry.link->hello();
    if (!hello.measures() || hello.serves_only() || entry.measures) continue;
    if (entry.free_slots < hello.slots()) continue;
    if (best == workers_.end() || entry.bases.idle.contains(base)) best = it;
  }
  if (best == workers_.end()) return "";
  --best->second.free_slots;
  best->second.measures = true;
  return best->first;
}

void WorkerHub::LeaveIdleWorker(const std::string& worker) {
  MutexLock lock(mutex_);
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return;
  it->second.measures = false;
  it->second.free_slots = std::min(it->second.free_slots + 1, it->second.link->hello().slots());
}

bool WorkerHub::Send(const std::string& worker, Command command) {
  std::shared_ptr<Link> link;
  {
    MutexLock lock(mutex_);
    const auto it = workers_.find(worker);
    if (it == workers_.end()) return false;
    link = it->second.link;
  }
  return link->Send(std::move(command));
}

void WorkerHub::AnnounceWork() {
  std::vector<std::shared_ptr<Link>> links;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, entry] : workers_) {
      if (entry.link->hello().serves_only()) continue;
      if (entry.free_slots > 0 || entry.measures) links.push_back(entry.link);
    }
  }
  Command command;
  command.mutable_work_available();
  for (const auto& link : links) link->Send(command);
}

bool WorkerHub::empty() const {
  MutexLock lock(mutex_);
  return workers_.empty();
}

std::vector<WorkerHub::WorkerView> WorkerHub::workers() const {
  MutexLock lock(mutex_);
  std::vector<WorkerView> views;
  views.reserve(workers_.size());
  for (const auto& [id, entry] : workers_) {
    const ConnectRequest& hello = entry.link->hello();
    views.push_back({.id = id,
                     .hostname = hello.hostname(),
                     .version = hello.version(),
                     .devices = {hello.devices().begin(), hello.devices().end()},
                     .engine_threads = hello.engine_threads(),
                     .slots = hello.slots(),
                     .free_slots = entry.free_slots,
                     .serves_only = hello.serves_only(),
                     .since_heard = clock_.Boottime() - entry.last_seen});
  }
  return views;
}

}  // namespace graft
