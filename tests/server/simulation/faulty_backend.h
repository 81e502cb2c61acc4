#pragma once

// A Backend whose writes fail when told to, and after whose writes every listener has heard of what
// they changed: so that what follows from a seed is always the same.

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "common/errors/status_details.h"
#include "server/store/job_listeners.h"
#include "server/store/tables.h"

namespace graft::simulation {

enum class Fault {
  kNone,
  kUndone,      // The transaction is rolled back.
  kAnswerLost,  // It is stored, but whoever asked hears OUTCOME_UNKNOWN.
};

// The fault of the next write that would not fail by itself, and whether it has come.
struct FaultPlan {
  Fault fault = Fault::kNone;
  bool fired = false;
};

// Writes are made by one thread at a time.
class FaultyBackend : public Backend {
 public:
  FaultyBackend(std::unique_ptr<Backend> backend, std::shared_ptr<JobListeners> listeners,
                FaultPlan& plan)
      : backend_(std::move(backend)), listeners_(std::move(listeners)), plan_(plan) {
    subscription_ = listeners_->Subscribe(kBarrier, [this](const JobChange& change) {
      MutexLock lock(mutex_);
      passed_ = change.last_sequence;
      barrier_passed_.NotifyAll();
    });
  }

  absl::Status Write(WritePlace place, const WriteBody& body) override {
    bool changed = false;
    bool due = false;
    const absl::Status status =
        backend_->Write(place, [&](Tables& tables, WriteEffects& effects) -> absl::Status {
          absl::Status done = body(tables, effects);
          if (!done.ok()) return done;
          changed = !effects.changes.empty();
          due = plan_.fault != Fault::kNone && !plan_.fired;
          return due && plan_.fault == Fault::kUndone ? Failed() : done;
        });
    if (status.ok() && changed) WaitForListeners();
    if (due) plan_.fired = true;
    return due ? Failed() : status;
  }
  absl::Status Read(const ReadBody& body) override { return backend_->Read(body); }
  absl::StatusOr<std::vector<std::string>> FindDamage() override { return backend_->FindDamage(); }
  absl::Status CopyTo(const std::string& path, const ByteProgress& progress) override {
    return backend_->CopyTo(path, progress);
  }

 private:
  // No job is called so.
  static constexpr char kBarrier[] = "barrier";

  absl::Status Failed() const {
    const absl::Status failed = absl::UnavailableError("the simulated disk failed");
    return plan_.fault == Fault::kAnswerLost ? WithReason(failed, kReasonOutcomeUnknown) : failed;
  }
  void WaitForListeners() {
    JobChange barrier;
    barrier.job = kBarrier;
    MutexLock lock(mutex_);
    barrier.last_sequence = ++barriers_;
    listeners_->Enqueue({barrier});
    while (passed_ < barriers_) barrier_passed_.Wait(mutex_);
  }

  const std::unique_ptr<Backend> backend_;
  const std::shared_ptr<JobListeners> listeners_;
  FaultPlan& plan_;
  Mutex mutex_;
  CondVar barrier_passed_;
  int64_t barriers_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t passed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Subscription> subscription_;
};

}  // namespace graft::simulation
