#include "tests/server/simulation/study_run.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace graft::simulation {
namespace {

// Streams of a seed.
constexpr uint64_t kTheStudy = 1, kTheTrials = 2, kTheRun = 1000;
constexpr int64_t kStepsAtOnce = 10;
constexpr int64_t kAllSteps = 40;
constexpr int kMaxRounds = 20'000;  // Far more than a study takes.
constexpr size_t kMostAtOnce = 3;

StoreOptions Patient() {
  StoreOptions options;
  // Trials fail by what they are, not by how often their workers died.
  options.max_failures_alike = options.max_failures_without_progress = 1'000'000;
  return options;
}

// Of a trial after so many steps; most fall, some cross each other.
double LossOf(uint64_t seed, int trial, int64_t step) {
  SeededRandom random(seed + static_cast<uint64_t>(trial) * 1000, kTheTrials);
  const double begin = random.Between(200, 400);
  const double fall = random.Between(-1, 6);
  return (begin - fall * static_cast<double>(step)) / 100;
}

// After which of its steps it fails for good; 0: never.
int64_t FailsAfter(uint64_t seed, int trial) {
  SeededRandom random(seed + static_cast<uint64_t>(trial) * 1000, kTheTrials + 1);
  return random.Percent(12) ? kStepsAtOnce * random.Between(1, 4) : 0;
}

int TrialOf(const v1::Job& job) {
  return std::stoi(job.trial().substr(job.trial().rfind('/') + 1));
}

}  // namespace

StudyRun::StudyRun(StoreKind store, uint64_t seed, Kind kind)
    : seed_(seed),
      kind_(kind),
      random_(seed, kTheRun),
      server_(store, Patient(), /*preemption=*/false, nullptr) {}

void StudyRun::Insert() {
  SeededRandom random(seed_, kTheStudy);
  const int points = random.Between(1, 9);
  const int repeats = random.Percent(30) ? 2 : 1;
  std::string text = "output_name: 'best' ";
  const int stopping = random.Below(10);
  if (stopping < 6) {
    absl::StrAppend(&text,
                    "successive_halving { min_steps: 10 reduction_factor: ", random.Between(2, 3),
                    " brackets: ", random.Between(1, 2), " } ");
  } else if (stopping < 9) {
    absl::StrAppend(
        &text, "median_stopping { interval_steps: 10 min_points: ", random.Between(1, 4), " } ");
  }
  const int64_t limit = random.Percent(25) ? kStepsAtOnce * random.Between(4, 30) : 0;
  // How many run at a time changes nothing.
  const int parallel = kind_ == Kind::kUndisturbed ? 0 : random_.Below(4);
  absl::StrAppend(&text, "limits { max_steps: ", limit, " max_parallel_trials: ", parallel, " }");
  NewStudy made = RankStudy(points, text, repeats);
  for (v1::Trial& trial : *made.study.mutable_trials()) {
    trial.set_seed(42 + static_cast<uint64_t>(trial.number() - 1) % static_cast<uint64_t>(repeats));
  }
  made.request = {"create", "body"};
  const auto study = Ask([&] { return server_.store().InsertStudy(made); });
  ASSERT_OK(study);
  study_ = study->name();
}

std::string StudyRun::Run() {
  Insert();
  if (study_.empty()) return "it was not made";
  for (int round = 0; round < kMaxRounds && !IsDone(); ++round) {
    if (kind_ == Kind::kDisturbed) {
      Disturb();
      continue;
    }
    Claim();
    while (!held_.empty()) Work(held_.front());
    Advance();
  }
  return Told();
}

void StudyRun::Advance() {
  const auto advance = Ask([&] { return server_.store().AdvanceStudy(study_); });
  ASSERT_OK(advance);
  if (!advance->ending) return;
  const auto finished = Ask(
      [&] { return server_.store().FinishStudy(study_, {StoreFixture::File("study.csv", 't')}); });
  ASSERT_OK(finished);
}

void StudyRun::Claim() {
  const auto queued = server_.store().QueuedJobs(20);
  ASSERT_OK(queued);
  if (queued->empty()) return;
  const QueuedJob& job = kind_ == Kind::kUndisturbed ? queued->front() : random_.Pick(*queued);
  const std::string request = absl::StrCat("claim-", ++requests_);
  const auto claim = Ask([&] {
    return server_.store().ClaimJob({job.name, job.version, kWorker, request});
  });
  if (!claim.ok()) return;  // It waits for a retry.
  const int64_t until = claim->job.pause_at_step();
  held_.push_back({{claim->job.name(), claim->lease_epoch, kWorker},
                   TrialOf(claim->job),
                   claim->checkpoint_step,
                   until > 0 ? until : kAllSteps});
}

void StudyRun::Finish(Held& held, const AttemptOutcome& outcome) {
  Ask([&] { return server_.store().FinishAttempt(held.lease, held.batch, outcome); }).IgnoreError();
  held_.remove_if([&](const Held& each) { return &each == &held; });
}

// The next steps with their evaluation, and what follows from them.
void StudyRun::Work(Held& held) {
  const int64_t step = held.step + kStepsAtOnce;
  if (FailsAfter(seed_, held.trial) == step) {
    return Finish(held, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "a bad row"));
  }
  EventBatch batch;
  batch.number = ++held.batch;
  batch.step = step;
  batch.stage = v1::JOB_STAGE_TRAINING;
  v1::EvaluationResult& result = *batch.events.emplace_back().mutable_evaluation();
  result.set_step(step);
  const double loss = LossOf(seed_, held.trial, step);
  (*result.mutable_values())["eval/loss"] = loss;
  const auto appended = Ask([&] { return server_.store().AppendEvents(held.lease, batch); });
  // Between the two it may die; then it computes the steps once more.
  const bool dies = kind_ == Kind::kDisturbed && random_.Percent(5);
  const NewCheckpoint checkpoint = {step, {StoreFixture::File("state", 'a')}, {}};
  if (!appended.ok() || dies ||
      !Ask([&] { return server_.store().CommitCheckpoint(held.lease, checkpoint); }).ok()) {
    held_.remove_if([&](const Held& each) { return &each == &held; });  // Lost, or as good as that.
    return;
  }
  held.step = step;
  if (step < held.until) return;
  if (step < kAllSteps) return Finish(held, AttemptPaused{});
  AttemptSucceeded success = StoreFixture::Success();
  (*success.result.mutable_metrics())["eval/loss"] = loss;
  Finish(held, success);
}

void StudyRun::Disturb() {
  const int choice = random_.Below(100);
  if (choice < 25) {
    if (held_.size() < kMostAtOnce) Claim();
  } else if (choice < 60) {
    if (!held_.empty()) {
      Work(*std::next(held_.begin(), random_.Below(static_cast<int>(held_.size()))));
    }
  } else if (choice < 75) {
    Advance();
  } else if (choice < 90) {
    LetTimePass();
  } else if (choice < 93) {
    if (!held_.empty()) held_.pop_front();  // Its worker dies without a word.
  } else if (choice < 95) {
    if (!held_.empty()) {
      Finish(held_.back(), StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "signal 9"));
    }
  } else if (choice < 97) {
    server_.Restart();
  } else {
    const RequestKey request = {absl::StrCat("change-", ++requests_), "body"};
    const bool running = Get().state() == v1::STUDY_STATE_RUNNING;
    Ask([&] {
      return running ? server_.store().PauseStudy(study_, request)
                     : server_.store().ResumeStudy(study_, request);
    }).IgnoreError();
  }
}

void StudyRun::LetTimePass() {
  if (random_.Percent(80)) RenewAll();
  server_.clock().Advance(absl::Seconds(random_.Between(5, 50)));
  Ask([&] { return server_.store().ExpireLeases(); }).IgnoreError();
}

void StudyRun::RenewAll() {
  std::vector<std::pair<std::string, int64_t>> all;
  for (const Held& held : held_) all.emplace_back(held.lease.job, held.lease.lease_epoch);
  const auto renewals = server_.store().RenewLeases(kWorker, all);
  ASSERT_OK(renewals);
  auto held = held_.begin();
  for (const LeaseRenewal& renewal : *renewals) {
    Held& now = *held++;
    if (!renewal.held) {
      held_.remove_if([&](const Held& each) { return &each == &now; });
    } else if (renewal.cancel) {
      Finish(now, AttemptCancelled{});
    } else if (renewal.pause) {
      Finish(now, AttemptPaused{});
    }
  }
}

std::string StudyRun::Told() {
  const v1::Study study = Get();
  std::vector<std::string> lines = {absl::StrCat(v1::StudyState_Name(study.state()), ", best ",
                                                 study.best_trial(), " as ", study.adapter(), ", ",
                                                 study.planned_steps(), " steps")};
  for (const v1::Trial& trial : study.trials()) {
    std::vector<std::string> values;
    for (const v1::RungValue& value : trial.values()) {
      values.push_back(absl::StrCat(value.step(), "=", value.value()));
    }
    lines.push_back(
        absl::StrCat("trial ", trial.number(), " ", v1::TrialState_Name(trial.state()), " told ",
                     trial.steps(), " ", absl::StrJoin(values, " "),
                     trial.has_value() ? absl::StrCat(" end ", trial.value()) : "",
                     trial.state() == v1::TRIAL_STATE_STOPPED ? ", " + trial.state_reason() : ""));
  }
  for (const v1::RankedPoint& point : study.ranking()) {
    lines.push_back(absl::StrCat("point ", point.point(), " ", point.mean(), " at ", point.step()));
  }
  // Those of one rung are in order; which rung comes first is chance.
  std::map<std::tuple<int, int64_t, int>, std::string> decisions;
  const auto events = server_.store().ReadStudyEvents(study_, 0, 10'000);
  for (const v1::StudyEvent& event : *events) {
    if (!event.has_decision()) continue;
    const v1::RungDecision& one = event.decision();
    std::string& text = decisions[{one.bracket(), one.step(), one.decision()}];
    EXPECT_EQ(text, "") << "decided twice";
    text = absl::StrCat("bracket ", one.bracket(), " step ", one.step(), " decision ",
                        one.decision(), ": of ", absl::StrJoin(one.points(), " "), " promoted ",
                        absl::StrJoin(one.promoted(), " "), " stopped ",
                        absl::StrJoin(one.stopped(), " "), " until ", one.until_step());
  }
  for (const auto& [rung, text] : decisions) lines.push_back(text);
  return absl::StrJoin(lines, "\n");
}

}  // namespace graft::simulation
