#pragma once

// Which worker is offered which job, beside the order of the queue: what a worker can do, what it
// handed back, and whether its attempts come to anything. Memory only; a restart forgets. No clock
// and no thread of its own: moments are Boottime. Not thread-safe.
//
//   attempts of a worker end early, twice in a row, or it says that it is at fault itself
//     ──▶ it is set aside: 10 s, doubling to 10 min, until an attempt of its makes progress
//   … on two jobs that failed early nowhere else, or another worker got further with the job
//     ──▶ that worker is to blame: what failed early there does not count against the job (Forgive)

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/store/job_store.h"

namespace graft {

// What a worker's engines compute with. Names as in v1::Execution.
struct Abilities {
  std::vector<std::string> devices;  // "cpu", or a GPU's model. Empty: it has had no engine yet.
  std::vector<std::string> precisions;
  std::string cpu_capability;
  std::vector<std::string> methods;  // That it says it knows.
};

// What a worker with these abilities lacks for a job with these needs, each with what it has:
// "device NVIDIA H200 (it has cpu)". As in CanServe.
std::vector<std::string> Lacks(const std::optional<Abilities>& abilities, const JobNeeds& needs);

// May a worker with these abilities take a job with these needs? One on a GPU takes jobs that began
// on a CPU. Without abilities, or devices, it is taken to be able to do anything with the methods
// that all know.
bool CanServe(const std::optional<Abilities>& abilities, const JobNeeds& needs);

// For people: "NVIDIA H200, bf16".
std::string NeedsText(const JobNeeds& needs);

// A worker that is connected now.
struct PresentWorker {
  std::string id;
  int free_slots = 0;
  int slots = 0;
};

inline constexpr absl::Duration kFirstSetAside = absl::Seconds(10);
inline constexpr absl::Duration kLongestSetAside = absl::Minutes(10);
// Early ends in a row that set a worker aside.
inline constexpr int kEarlyEndsInRow = 2;
// After a failure a job waits for another worker for so long at most.
inline constexpr absl::Duration kPreferOtherWorker = absl::Seconds(30);
// Early failures that one job is forgiven at the most: for then no worker can do it.
inline constexpr int kMaxForgiven = 20;
// Workers that are remembered; one more takes the place of the one that was heard of least
// recently.
inline constexpr size_t kMaxPlacementWorkers = 1000;
// Instances that one job was handed back by; beyond, the first is offered it again.
inline constexpr size_t kMaxRefusals = 16;

class Placement {
 public:
  // A worker asks for a job: what it can do.
  void Asked(const WorkerRef& worker, std::optional<Abilities> abilities, absl::Duration now);
  // A change that the store told of.
  void Changed(const JobChange& change, absl::Duration now);

  // No job is offered to it now.
  bool IsSetAside(const WorkerRef& worker, absl::Duration now) const;
  // Whether the worker may be offered this job, which it can do, or another had better take it.
  bool MayTake(const WorkerRef& worker, const QueuedJob& job,
               const std::vector<PresentWorker>& present, absl::Duration now) const;
  // As far as is known this worker would take the job now, were it free.
  bool WouldTake(const std::string& worker, const QueuedJob& job, absl::Duration now) const;
  // It is known that it would, and before all others: somebody else's job is to end for it.
  bool IsSureToTake(const std::string& worker, const QueuedJob& job, absl::Duration now) const;
  // What it said that it can do; nothing: not known.
  std::optional<Abilities> AbilitiesOf(const std::string& worker) const;
  // How a worker stands with the placement, whatever the job.
  struct Standing {
    bool asked = false;  // For a job: before, nothing is known of it.
    std::optional<Abilities> abilities;
    absl::Duration set_aside;  // For so long yet.
  };
  Standing StandingOf(const std::string& worker, absl::Duration now) const;
  // Jobs and those workers, as they are now, that handed them back: they are not offered them
  // again.
  std::set<std::pair<std::string, std::string>> HandedBack() const;
  // Its last attempts, this job's among them, ended early: another job tells more of the worker.
  bool EndedEarlyAt(const WorkerRef& worker, const std::string& job) const;
  // Why nobody who is present takes a job with these needs; empty: somebody may.
  std::string WhyNobody(const JobNeeds& needs, const std::vector<PresentWorker>& present,
                        absl::Duration now) const;
  // Those that were set aside and have made no progress since; for as long as the last term once
  // more, since nobody knows of one that was not tried.
  std::set<std::string> SetAside(absl::Duration now) const;
  // The next moment after `now` at which more may be offered than now.
  absl::Duration NextChange(absl::Duration now) const;

  // Failures that were not the job's, since the last call.
  std::vector<std::pair<std::string, int>> TakeForgiven();
  // They could not be written down.
  void PutBackForgiven(const std::string& job, int failures) { forgiven_[job] += failures; }
  // Workers that were set aside since the last call, and for how long.
  std::vector<std::pair<std::string, absl::Duration>> TakeNewlySetAside();

 private:
  struct Worker {
    std::string instance;
    std::optional<Abilities> abilities;
    absl::Duration heard;
    int early_in_row = 0;
    std::set<std::string> early_jobs;  // Of this row.
    absl::Duration back_off;           // Zero: not set aside.
    absl::Duration until;
  };
  struct Job {
    std::vector<std::pair<std::string, std::string>> refused_by;  // Worker and instance.
    std::string failed_at;  // The worker of the last attempt, if it failed.
    absl::Duration prefer_other_until;
    std::map<std::string, int> early;  // Early failures not yet forgiven, by worker.
    int forgiven = 0;
  };

  Worker& WorkerOf(const WorkerRef& worker, absl::Duration now);
  void EndedEarly(const WorkerRef& ref, const std::string& job, absl::Duration now);
  void Progressed(const JobChange& change, bool old, absl::Duration now);
  void SetAside(const std::string& id, Worker& worker, absl::Duration now);
  // What failed early at this worker does not count against the job.
  void Forgive(const std::string& job, const std::string& worker);

  std::map<std::string, Worker> workers_;  // By id.
  std::map<std::string, Job> jobs_;        // Those that have something to tell.
  std::map<std::string, int> forgiven_;
  std::vector<std::pair<std::string, absl::Duration>> newly_set_aside_;
};

}  // namespace graft
