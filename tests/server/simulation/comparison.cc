#include "tests/server/simulation/comparison.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/server/simulation/text.h"

namespace graft::simulation {
namespace {

constexpr int kAll = 1000;
constexpr size_t kLastEvents = 8;

std::string Difference(const std::string& what, const std::string& store,
                       const std::string& model) {
  if (store == model) return "";
  return absl::StrCat(what, "\n  store: ", store, "\n  model: ", model);
}

// docs/API.md, the life of a job.
bool MayFollow(v1::JobState from, v1::JobState to) {
  using State = v1::JobState;
  static const std::set<std::pair<State, State>> kFollows = {
      {v1::JOB_STATE_UNSPECIFIED, v1::JOB_STATE_QUEUED},
      {v1::JOB_STATE_QUEUED, v1::JOB_STATE_RUNNING},
      {v1::JOB_STATE_QUEUED, v1::JOB_STATE_PAUSED},
      {v1::JOB_STATE_PAUSED, v1::JOB_STATE_QUEUED},
      {v1::JOB_STATE_RUNNING, v1::JOB_STATE_QUEUED},
      {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSING},
      {v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSED},
  };
  if (kFollows.contains({from, to})) return true;
  const bool held = IsHeldState(from);
  if (to == v1::JOB_STATE_SUCCEEDED) return held;
  if (to == v1::JOB_STATE_FAILED) return !IsDoneState(from);
  if (to == v1::JOB_STATE_CANCELLING) return held && from != v1::JOB_STATE_CANCELLING;
  return to == v1::JOB_STATE_CANCELLED &&
         (from == v1::JOB_STATE_QUEUED || from == v1::JOB_STATE_PAUSED ||
          from == v1::JOB_STATE_CANCELLING);
}

std::string CompareEvents(JobStore& store, const ModelJob& job, size_t after) {
  const auto events = store.ReadEvents(job.name, static_cast<int64_t>(after), kAll);
  if (!events.ok()) return absl::StrCat("events: ", events.status().ToString());
  std::vector<std::string> texts;
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  for (const v1::JobEvent& event : *events) {
    const auto expected = static_cast<int64_t>(after + texts.size()) + 1;
    if (event.sequence() != expected) {
      return absl::StrCat("event ", expected, " of ", job.name, " has the number ",
                          event.sequence());
    }
    texts.push_back(Text(event));
    if (!event.has_state_change()) continue;
    const v1::StateChange& change = event.state_change();
    const bool follows = state == change.from() || (after > 0 && state == 0);
    if (!follows || !MayFollow(change.from(), change.to())) {
      return absl::StrCat(job.name, " went from ", Text(change.from()), " to ", Text(change.to()),
                          " when it was ", Text(state));
    }
    state = change.to();
  }
  const auto begin = job.log.begin() + static_cast<std::ptrdiff_t>(std::min(after, job.log.size()));
  return Difference(absl::StrCat("events of ", job.name), absl::StrJoin(texts, ", "),
                    absl::StrJoin(begin, job.log.end(), ", "));
}

std::string CompareCheckpoints(JobStore& store, const ModelJob& job) {
  const auto checkpoints = store.ListCheckpoints(job.name);
  if (!checkpoints.ok()) return absl::StrCat("checkpoints: ", checkpoints.status().ToString());
  std::vector<std::string> stored, expected;
  for (const v1::JobCheckpoint& each : *checkpoints) stored.push_back(Text(each));
  for (const auto& [step, each] : job.checkpoints) expected.push_back(Text(step, each));
  return Difference(absl::StrCat("checkpoints of ", job.name), absl::StrJoin(stored, ", "),
                    absl::StrJoin(expected, ", "));
}

std::string HeldText(const std::string& job, const std::string& worker, int64_t lease_epoch,
                     v1::JobState state, int32_t priority, const std::string& preempted_by) {
  return absl::StrCat(job, " by ", worker, " epoch ", lease_epoch, " ", Text(state), " priority ",
                      priority, " for '", preempted_by, "'");
}

std::string CompareHeld(JobStore& store, const Model& model) {
  const auto held = store.HeldJobs();
  if (!held.ok()) return held.status().ToString();
  std::set<std::string> stored, expected;
  for (const HeldJobView& each : *held) {
    stored.insert(HeldText(each.name, each.worker, each.lease_epoch, each.state, each.priority,
                           each.preempted_by));
  }
  for (const auto& [name, job] : model.jobs()) {
    if (!job.lease) continue;
    expected.insert(HeldText(name, job.attempts.back().worker.id, job.lease_epoch, job.state,
                             job.submission.priority, job.preempted_by));
  }
  return Difference("held jobs", absl::StrJoin(stored, ", "), absl::StrJoin(expected, ", "));
}

}  // namespace

std::string CompareQueue(JobStore& store, const Model& model) {
  const auto queued = store.QueuedJobs(kAll);
  if (!queued.ok()) return queued.status().ToString();
  std::vector<std::string> stored, expected;
  for (const QueuedJob& job : *queued) stored.push_back(job.name);
  for (const ModelJob* job : model.Queue()) expected.push_back(job->name);
  if (auto wrong = Difference("queue", Text(stored), Text(expected)); !wrong.empty()) return wrong;
  if (auto wrong = CompareHeld(store, model); !wrong.empty()) return wrong;
  const auto expiry = store.NextExpiry();
  if (!expiry.ok()) return expiry.status().ToString();
  return Difference(
      "next end of a lease, next retry",
      absl::StrCat(absl::FormatDuration(*expiry), ", ", absl::FormatDuration(store.NextRetry())),
      absl::StrCat(absl::FormatDuration(model.NextExpiry()), ", ",
                   absl::FormatDuration(model.NextRetry())));
}

std::string CompareJob(JobStore& store, const Model& model, const std::string& name,
                       EventsCompared compared) {
  const auto found = store.GetJobWithNeeds(name);
  const auto job = model.jobs().find(name);
  if (job == model.jobs().end()) {
    return absl::IsNotFound(found.status()) ? "" : absl::StrCat(name, " should be gone");
  }
  if (!found.ok()) return absl::StrCat(name, ": ", found.status().ToString());
  if (auto wrong = Difference("job", Text(found->job), Text(job->second)); !wrong.empty()) {
    return wrong;
  }
  if (auto wrong =
          Difference(absl::StrCat("needs of ", name), Text(found->needs), Text(job->second.needs));
      !wrong.empty()) {
    return wrong;
  }
  if (auto wrong = CompareCheckpoints(store, job->second); !wrong.empty()) return wrong;
  const size_t events = job->second.log.size();
  const bool all = compared == EventsCompared::kAll || events < kLastEvents;
  return CompareEvents(store, job->second, all ? 0 : events - kLastEvents);
}

std::string CompareAll(JobStore& store, const Model& model) {
  for (const auto& [name, job] : model.jobs()) {
    if (auto wrong = CompareJob(store, model, name, EventsCompared::kAll); !wrong.empty())
      return wrong;
  }
  const auto counts = store.Counts();
  if (!counts.ok()) return counts.status().ToString();
  int64_t jobs = 0, marked = 0;
  for (const StoreCounts::Jobs& each : counts->jobs) jobs += each.count;
  for (const auto& [name, job] : model.jobs()) marked += job.end_marked;
  return Difference("jobs, marked ends, adapters",
                    absl::StrCat(jobs, ", ", counts->marked_ends, ", ", counts->adapters),
                    absl::StrCat(model.jobs().size(), ", ", marked, ", ", model.adapters().size()));
}

}  // namespace graft::simulation
