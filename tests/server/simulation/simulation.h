#pragma once

// One seed: people, workers and the passing of time do things at random to a server, and the model
// says what each must come to.
//
//   people ─┐                    ┌─▶ SimulatedServer (JobStore, Scheduler) ─▶ answer ─┐
//   workers ┼─▶ one operation ───┤                                                    ├─▶ the same?
//   time   ─┘                    └─▶ Model ─────────────────────────────────▶ answer ─┘
//
// Afterwards all that waits is let go on, and must end.

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/simulation/model.h"
#include "tests/server/simulation/seeded_random.h"
#include "tests/server/simulation/simulated_server.h"
#include "tests/server/simulation/text.h"
#include "tests/server/simulation/worker.h"

namespace graft::simulation {

struct Plan {
  StoreKind store = StoreKind::kMemory;
  uint64_t seed = 1;
  int operations = 200;
  std::set<int> left_out;  // Of the operations.
};

class Simulation {
 public:
  explicit Simulation(const Plan& plan);

  // Until something is wrong, or to the end.
  void Run();

  // What was wrong; empty: nothing.
  const std::string& wrong() const { return wrong_; }
  // What happened, a line each.
  const std::vector<std::string>& history() const { return history_; }
  // Operations that were begun.
  int begun() const { return begun_; }

 private:
  // One of them, chosen at random.
  void Operation();
  // What the store says now beside what the model does.
  void Compare();
  void CompareThoroughly();
  void Wrong(const std::string& what);
  void Tell(const std::string& what);

  // Calls the server, whose next write may be planned to fail; then the model, if what was asked
  // was stored. Returns what the server answered.
  template <typename Call, typename Predict>
  auto Try(const std::string& what, const Call& call, const Predict& predict) {
    auto got = call();
    const FaultPlan plan = std::exchange(server_.faults(), FaultPlan());
    const std::string answer = Text(ToAnswer(got));
    Tell(absl::StrCat(what, ": ", answer,
                      !plan.fired                    ? ""
                      : plan.fault == Fault::kUndone ? " (undone)"
                                                     : " (answer lost)"));
    if (plan.fired && plan.fault == Fault::kUndone) return got;
    const Answer expected = predict();
    if (plan.fired ? !expected.ok() : answer != Text(expected)) {
      Wrong(absl::StrCat("the model answers ", Text(expected)));
    }
    return got;
  }
  // Whatever it answers.
  template <typename Call, typename Predict>
  void Do(const std::string& what, const Call& call, const Predict& predict) {
    Try(what, call, predict).IgnoreError();
  }

  // ---- people.cc -------------------------------------------------------------------------------
  void DoSomethingToJobs();
  void Submit();
  void Retry();
  void ChangeJob();
  void Update();
  void Delete();
  void Purge();
  void Pin();
  // Of a new request or none; the same call can be repeated later.
  RequestKey NewRequest(const std::string& body);
  void Ask(const std::function<void()>& call);
  std::string AnyJob();

  // ---- workers.cc ------------------------------------------------------------------------------
  void WorkSomewhere();
  void LeaseTo(Worker& worker, bool repeat);
  void Renew(Worker& worker);
  void RestartWorker(Worker& worker);
  // The attempt's next report, or one that is late, repeated or early.
  void Report(Worker& worker, HeldAttempt& held);
  void Append(HeldAttempt& held);
  void Commit(Worker& worker, HeldAttempt& held);
  void Finish(HeldAttempt& held, const AttemptOutcome& outcome, int64_t last_batch);
  AttemptOutcome AnyOutcome(const HeldAttempt& held);
  EventBatch NextBatch(HeldAttempt& held);
  // Those that are connected.
  std::vector<PresentWorker> Present() const;

  // ---- time.cc ---------------------------------------------------------------------------------
  void PassTime();
  void Tick();
  void RestartServer();
  void DeleteOld();
  void ForgetEnd();

  // ---- ending.cc -------------------------------------------------------------------------------
  // Nothing fails any more and able workers come: every job ends.
  void LetAllEnd();
  void BringAbleWorkers();
  void ResumeAll();
  // One of those that are gone, as if its packets had been under way all the time.
  void HearOfThePast();
  void WorkToTheEnd(Worker& worker);

  const Plan plan_;
  SeededRandom random_;  // Of the present operation.
  std::vector<Worker> workers_;
  SimulatedServer server_;
  Model model_;
  std::vector<std::function<void()>> asked_;  // To be asked again.
  int requests_ = 0;
  int begun_ = 0;
  std::string wrong_;
  std::vector<std::string> history_;
};

}  // namespace graft::simulation
