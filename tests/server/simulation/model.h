#pragma once

// What the documentation says of jobs (docs/API.md, docs/ARCHITECTURE.md,
// server/store/job_store.h), as a map of jobs and a function for each verb, without transactions,
// indexes, files or threads. Each returns what the verb answers; one that is refused has changed
// nothing.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "tests/server/simulation/model_job.h"
#include "tests/server/simulation/model_placement.h"

namespace graft::simulation {

class Model {
 public:
  // Both must outlive it.
  Model(const StoreOptions& options, Clock& clock) : options_(options), clock_(clock) {}

  // ---- People (model_people.cc) ----------------------------------------------------------------
  // The job is called `name`, should it be made.
  Answer Submit(const Submission& submission, const RequestKey& key, const std::string& name);
  Answer Retry(const std::string& job, bool from_scratch, const RequestKey& key,
               const std::string& name);
  Answer Cancel(const std::string& job, const RequestKey& key);
  Answer SaveAndCancel(const std::string& job, const RequestKey& key);
  Answer Pause(const std::string& job, const RequestKey& key);
  Answer Resume(const std::string& job, const RequestKey& key);
  Answer AskForCheckpoint(const std::string& job, const RequestKey& key);
  Answer Update(const std::string& job, const JobUpdate& update, const RequestKey& key);
  Answer Delete(const std::string& job, bool delete_adapter, const RequestKey& key);
  Answer Pin(const std::string& job, int64_t step, bool pinned);
  // `broken_off`: after the first of its transactions.
  Answer Purge(const JobPurge& purge, bool broken_off);

  // ---- Leases (model_leases.cc) ----------------------------------------------------------------
  Answer Lease(const WorkerRef& worker, const std::string& request_id,
               const std::optional<Abilities>& abilities,
               const std::vector<PresentWorker>& present);
  // The store failed: the scheduler has heard what the worker can do all the same.
  void AskedInVain(const WorkerRef& worker, const std::string& request_id,
                   const std::optional<Abilities>& abilities);
  Answer Renew(const WorkerRef& worker,
               const std::vector<std::pair<std::string, int64_t>>& job_and_lease_epoch);
  Answer ReleaseOtherInstances(const WorkerRef& worker);

  // ---- Reports of workers (model_reports.cc) ---------------------------------------------------
  Answer Append(const LeaseRef& lease, const EventBatch& batch);
  Answer Commit(const LeaseRef& lease, const NewCheckpoint& checkpoint);
  Answer Finish(const LeaseRef& lease, int64_t last_batch, const AttemptOutcome& outcome);

  // ---- The passing of time (model_time.cc) -----------------------------------------------------
  // In this order they are what Scheduler::Tick does. Each returns the jobs that it ended.
  void EndOverdue();
  std::vector<std::string> ExpireLeases();
  void ForgiveFailures();
  void Prune();
  // The jobs that make way, each with the one that it makes way for.
  std::vector<std::pair<std::string, std::string>> MakeWay(
      const std::vector<PresentWorker>& present);
  // What it may not sleep over.
  absl::Duration NextMoment() const;

  std::vector<std::string> DeleteOld();
  void ForgetEnd(const std::string& job);
  // Of the scheduler alone, or of the store, too.
  void Restart(bool store_too);

  // ---- What there is ---------------------------------------------------------------------------
  const std::map<std::string, ModelJob>& jobs() const { return jobs_; }
  // Best first, without those that wait for a retry.
  std::vector<const ModelJob*> Queue() const;
  // Those that a verb has touched since the last call, deleted ones too.
  std::set<std::string> TakeTouched() { return std::exchange(touched_, {}); }
  bool HasOverdue() const;
  absl::Duration NextExpiry() const;
  absl::Duration NextRetry() const;
  const std::set<std::string>& adapters() const { return adapters_; }

 private:
  struct KeptAnswer {
    std::string body;
    Answer answer;
    absl::Duration since;
    std::vector<std::string> purged;  // Of a purge that has begun.
  };

  absl::Duration now() const { return clock_.Boottime(); }
  ModelJob* Find(const std::string& name);
  // The job if this is its present lease; else nullptr: STALE_LEASE.
  ModelJob* Held(const LeaseRef& lease);
  // The same request gets the same answer, and does nothing.
  Answer Once(const std::string& verb, const RequestKey& key, const std::function<Answer()>& act);
  // Once, of a verb that only one job is about.
  Answer ChangeOnce(const std::string& verb, const RequestKey& key, const std::string& job,
                    const std::function<Answer(ModelJob&)>& change);

  std::optional<Answer> RefuseInsertion(const std::string& output) const;
  void CancelJob(ModelJob& job, bool saves);
  // Of a job that is done; its adapter, if that is to go and there is one.
  std::string Remove(const std::string& job, bool delete_adapter);
  // The job stands where its newest checkpoint is.
  static void BackToCheckpoint(ModelJob& job);
  void SetState(ModelJob& job, v1::JobState to);
  void KeepCheckpointsOfDone(ModelJob& job);
  static JobNeeds NeedsNow(const ModelJob& job);
  // For how long its attempt has run.
  absl::Duration RanFor(const ModelJob& job) const;
  void ExtendLease(ModelJob& job) const;
  void EndAttempt(ModelJob& job, v1::AttemptOutcome outcome);
  void EndLease(ModelJob& job, const std::string& cause);
  void Lose(ModelJob& job, const std::string& cause, absl::Duration ran);
  void LoseAnywhere(ModelJob& job);
  static void ForgetFailures(ModelJob& job);
  bool FailedTooOften(const ModelJob& job) const;
  absl::Duration RetryDelay(const ModelJob& job) const;
  ModelJob* ClaimedBy(const WorkerRef& worker, const std::string& request_id);
  void Claim(ModelJob& job, const WorkerRef& worker, const std::string& request_id);
  ModelJob* Choose(const WorkerRef& worker, const std::optional<Abilities>& abilities,
                   const std::vector<PresentWorker>& present);
  void Log(ModelJob& job, const v1::JobEvent& event);
  void LogMetrics(ModelJob& job, int64_t step, const std::map<std::string, double>& values);
  void LogEvaluation(ModelJob& job, int64_t step, const std::map<std::string, double>& values);
  void WarnOfDifference(ModelJob& job);
  bool DropCorrupt(ModelJob& job, const AttemptOutcome& outcome);
  void Conclude(ModelJob& job, const AttemptOutcome& outcome, bool dropped);
  bool IsOverdue(const ModelJob& job) const;
  bool MakesWayNow(const ModelJob& job) const;
  ModelJob* FindVictim(const ModelJob& urgent, const std::map<std::string, int>& open_slots);

  const StoreOptions& options_;
  Clock& clock_;
  std::map<std::string, ModelJob> jobs_;
  std::set<std::string> touched_;
  std::set<std::string> adapters_;
  std::map<std::pair<std::string, std::string>, KeptAnswer> answers_;  // By verb and request.
  int64_t submitted_ = 0;
  ModelPlacement placement_;
  std::map<std::string, absl::Duration> made_way_;  // When; as the scheduler remembers.
  bool begun_anew_ = true;
  absl::Duration next_prune_;
};

}  // namespace graft::simulation
