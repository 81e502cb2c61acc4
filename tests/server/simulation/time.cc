#include <algorithm>

#include "absl/strings/str_join.h"
#include "tests/server/simulation/simulation.h"

namespace graft::simulation {

void Simulation::PassTime() {
  const int choice = random_.Below(100);
  absl::Duration span = absl::Milliseconds(random_.Between(0, 2000));
  if (choice >= 40) span = absl::Seconds(random_.Between(2, 15));
  if (choice >= 75) span = absl::Seconds(random_.Between(15, 61));
  if (choice >= 92) span = absl::Seconds(random_.Between(60, 700));
  if (choice >= 98) span = absl::Minutes(random_.Between(10, 100));
  server_.clock().Advance(span);
  Tell(absl::StrCat(absl::FormatDuration(span), " pass"));
  if (random_.Percent(2)) {
    server_.clock().MoveWallClock(absl::Minutes(random_.Between(-30, 30)));
    Tell("somebody sets the date");
  }
}

// A write that fails is that of overdue jobs, if there are any, else that of leases that ended.
void Simulation::Tick() {
  const std::vector<PresentWorker> present = Present();
  const bool overdue = model_.HasOverdue();
  if (!overdue && model_.NextExpiry() > server_.clock().Boottime()) server_.faults() = FaultPlan();
  const Upkeep upkeep = server_.scheduler().Tick();
  const FaultPlan plan = std::exchange(server_.faults(), FaultPlan());
  Tell(absl::StrCat("tick: expired ", Text(upkeep.expired), ", ", upkeep.preempted.size(),
                    " make way", plan.fired ? ", a write failed" : ""));
  if (upkeep.status.ok() == plan.fired) Wrong(upkeep.status.ToString());
  // Deadlines that cannot be written wait, and all else goes on; after leases nothing does.
  const bool stored = !plan.fired || plan.fault == Fault::kAnswerLost;
  if (stored || !overdue) model_.EndOverdue();
  std::vector<std::string> expired;
  if (stored || overdue) expired = model_.ExpireLeases();
  if (plan.fired && !overdue) return;
  if (Text(expired) != Text(upkeep.expired)) {
    Wrong(absl::StrCat("in the model these leases expired: ", Text(expired)));
  }
  model_.ForgiveFailures();
  model_.Prune();
  std::vector<std::pair<std::string, std::string>> making_way, expected;
  for (const HeldJobView& job : upkeep.preempted)
    making_way.emplace_back(job.name, job.preempted_by);
  if (server_.preemption()) expected = model_.MakeWay(present);
  if (making_way != expected) {
    Wrong(absl::StrCat(
        "in the model these make way: ",
        absl::StrJoin(expected, ", ", absl::PairFormatter(" for ")),
        "; in the scheduler: ", absl::StrJoin(making_way, ", ", absl::PairFormatter(" for "))));
  }
  if (upkeep.work_available == model_.Queue().empty()) Wrong("work is available, or not");
  if (!plan.fired && upkeep.next > std::max(model_.NextMoment(), server_.clock().Boottime())) {
    Wrong(absl::StrCat("it sleeps until ", absl::FormatDuration(upkeep.next),
                       "; in the model something happens at ",
                       absl::FormatDuration(model_.NextMoment())));
  }
}

void Simulation::RestartServer() {
  server_.faults() = FaultPlan();
  server_.Restart();
  model_.Restart(server_.keeps_rows());
  Tell(server_.keeps_rows() ? "the server starts again" : "the scheduler starts again");
  CompareThoroughly();
}

void Simulation::DeleteOld() {
  Do(
      "delete old jobs",
      [&]() -> absl::StatusOr<std::vector<std::string>> {
        const auto pruned = server_.store().PruneJobs();
        if (!pruned.ok()) return pruned.status();
        std::vector<std::string> names;
        for (const DeletedJob& job : *pruned) names.push_back(job.job);
        return names;
      },
      [&] { return Answer{.value = Text(model_.DeleteOld())}; });
}

void Simulation::ForgetEnd() {
  server_.faults() = FaultPlan();
  const auto ends = server_.store().MarkedEnds(1);
  if (!ends.ok()) return Wrong(ends.status().ToString());
  if (ends->empty()) return;
  const std::string job = (*ends)[0];
  if (!model_.jobs().contains(job) || !model_.jobs().at(job).end_marked) {
    return Wrong(absl::StrCat("the end of ", job, " is marked"));
  }
  if (!server_.store().ForgetEnd(job).ok()) Wrong("ForgetEnd failed");
  model_.ForgetEnd(job);
  Tell(absl::StrCat("somebody has heard of the end of ", job));
}

}  // namespace graft::simulation
