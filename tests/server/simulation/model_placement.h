#pragma once

// What the model's scheduler knows of workers (server/scheduler/placement.h says it in words): whom
// it sets aside, whom it offers what, and which failures were not the job's.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/scheduler/placement.h"

namespace graft::simulation {

class ModelPlacement {
 public:
  void Asked(const WorkerRef& worker, const std::optional<Abilities>& abilities);
  // An attempt has done more than to begin.
  void Progressed(const WorkerRef& worker, const std::string& job);
  // An attempt has ended; is the job QUEUED again, done, or neither?
  void Ended(const WorkerRef& worker, const std::string& job, v1::JobState state, bool progressed,
             AttemptEnd end, absl::Duration now);
  // It is done or deleted.
  void Forget(const std::string& job) { jobs_.erase(job); }

  bool IsSetAside(const WorkerRef& worker, absl::Duration now) const;
  // This very process handed it back.
  bool HandedBack(const WorkerRef& worker, const std::string& job) const;
  // It failed there a moment ago, and another could take it now.
  bool BetterElsewhere(const WorkerRef& worker, const std::string& job, const JobNeeds& needs,
                       const std::vector<PresentWorker>& present, absl::Duration now) const;
  // The worker's last attempts all ended early, one at this job among them.
  bool EndedEarlyThere(const WorkerRef& worker, const std::string& job) const;

  // As far as is known: it would take the job if it were free; and surely.
  bool WouldTake(const std::string& worker, const std::string& job, const JobNeeds& needs,
                 absl::Duration now) const;
  bool IsSureToTake(const std::string& worker, const std::string& job, const JobNeeds& needs,
                    absl::Duration now) const;
  bool CanServeOf(const std::string& worker, const JobNeeds& needs) const;

  std::map<std::string, int> TakeForgiven() { return std::exchange(forgiven_, {}); }
  absl::Duration NextChange(absl::Duration now) const;

 private:
  struct Worker {
    std::string instance;
    std::optional<Abilities> abilities;
    int early_in_row = 0;
    std::set<std::string> early_jobs;
    absl::Duration set_aside_for, set_aside_until;
  };
  struct Job {
    std::vector<WorkerRef> handed_back_by;
    std::string failed_at;
    absl::Duration failed_until;
    std::map<std::string, int> early;  // Failures that count still, by worker.
    int forgiven = 0;
  };

  void SetAside(Worker& worker, absl::Duration now);
  void EndedEarly(Worker& worker, const std::string& id, const std::string& job,
                  absl::Duration now);
  void Forgive(const std::string& job, const std::string& worker);
  // Of the worker's present instance.
  Worker& Of(const WorkerRef& worker);

  std::map<std::string, Worker> workers_;
  std::map<std::string, Job> jobs_;
  std::map<std::string, int> forgiven_;
};

// What job_store.h says of JobNeeds, and server/scheduler/placement.h of CanServe.
bool IsAble(const std::optional<Abilities>& abilities, const JobNeeds& needs);

}  // namespace graft::simulation
