#include "worker/agent/held_lease.h"

#include <algorithm>

namespace graft {
namespace {

// An engine looks at its fence at every micro-batch and decode step; the signal comes only when it
// should long have.
constexpr absl::Duration kSuspendAfter = absl::Seconds(2);

}  // namespace

HeldLease::HeldLease(std::string job, int64_t lease_epoch, absl::Duration deadline)
    : job_(std::move(job)), lease_epoch_(lease_epoch), deadline_(deadline) {}

void HeldLease::Attach(EngineProcess* engine) {
  MutexLock lock(mutex_);
  engine_ = engine;
  SendFence();
  if (cancelled_) SendCancel();
  if (abandoned_) engine_->Kill();
}

void HeldLease::Detach() {
  MutexLock lock(mutex_);
  engine_ = nullptr;
}

void HeldLease::Renew(absl::Duration deadline) {
  MutexLock lock(mutex_);
  deadline_ = std::max(deadline_, deadline);
  if (engine_ == nullptr) return;
  SendFence();
  if (suspended_) engine_->Suspend(false);
  suspended_ = false;
}

void HeldLease::Cancel(absl::Duration now, absl::Duration patience) {
  MutexLock lock(mutex_);
  if (cancelled_) return;
  cancelled_ = true;
  kill_at_ = now + patience;
  if (engine_ != nullptr) SendCancel();
}

void HeldLease::Abandon() {
  MutexLock lock(mutex_);
  abandoned_ = true;
  if (engine_ != nullptr) engine_->Kill();
}

void HeldLease::Enforce(absl::Duration now) {
  MutexLock lock(mutex_);
  if (engine_ == nullptr) return;
  if (now >= kill_at_) engine_->Kill();
  if (now >= deadline_ + kSuspendAfter && !suspended_) {
    engine_->Suspend(true);
    suspended_ = true;
  }
}

bool HeldLease::abandoned() const {
  MutexLock lock(mutex_);
  return abandoned_;
}

bool HeldLease::cancelled() const {
  MutexLock lock(mutex_);
  return cancelled_;
}

// A send that fails means that the engine is gone, which its reader learns by itself.
void HeldLease::SendFence() {
  engine::v1::EngineCommand command;
  command.set_job(job_);
  command.mutable_fence()->set_boottime_ns(absl::ToInt64Nanoseconds(deadline_));
  engine_->Send(command).IgnoreError();
}

void HeldLease::SendCancel() {
  engine::v1::EngineCommand command;
  command.set_job(job_);
  command.mutable_cancel();
  engine_->Send(command).IgnoreError();
}

std::shared_ptr<HeldLease> LeaseTable::Add(std::string job, int64_t lease_epoch,
                                           absl::Duration deadline) {
  auto lease = std::make_shared<HeldLease>(std::move(job), lease_epoch, deadline);
  MutexLock lock(mutex_);
  leases_.push_back(lease);
  return lease;
}

void LeaseTable::Remove(const std::shared_ptr<HeldLease>& lease) {
  MutexLock lock(mutex_);
  leases_.erase(std::remove(leases_.begin(), leases_.end(), lease), leases_.end());
}

std::vector<std::shared_ptr<HeldLease>> LeaseTable::All() const {
  MutexLock lock(mutex_);
  return leases_;
}

std::shared_ptr<HeldLease> LeaseTable::Find(const std::string& job, int64_t lease_epoch) const {
  MutexLock lock(mutex_);
  for (const auto& lease : leases_) {
    if (lease->job() == job && lease->lease_epoch() == lease_epoch) return lease;
  }
  return nullptr;
}

}  // namespace graft
