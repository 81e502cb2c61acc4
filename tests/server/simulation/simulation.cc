#include "tests/server/simulation/simulation.h"

#include "tests/server/simulation/comparison.h"

namespace graft::simulation {
namespace {

// What differs from seed to seed for all of its operations.
constexpr uint64_t kSettings = 1'000'000'000;
constexpr int kOperationsBetweenThoroughComparisons = 25;

StoreOptions AnyOptions(uint64_t seed) {
  SeededRandom random(seed, kSettings);
  StoreOptions options;
  options.max_queued_jobs = random.Percent(30) ? 5 : 25;
  options.max_failures_alike = random.Percent(50) ? 2 : 5;
  options.max_failures_without_progress = random.Percent(50) ? 4 : 20;
  options.request_id_lifetime = random.Percent(50) ? absl::Hours(1) : absl::Hours(24);
  options.checkpoint_lifetime = random.Percent(50) ? absl::Hours(1) : absl::Hours(24 * 7);
  if (random.Percent(50)) options.job_lifetime = absl::Minutes(30);
  options.mark_ends = random.Percent(50);
  return options;
}

bool Preempts(uint64_t seed) { return SeededRandom(seed, kSettings + 1).Percent(50); }

std::vector<Worker> AnyWorkers(uint64_t seed) {
  SeededRandom random(seed, kSettings + 2);
  std::vector<Worker> workers;
  for (int i = random.Between(2, 4); i > 0; --i) {
    Worker& worker = workers.emplace_back();
    worker.ref = {absl::StrCat("w", i), "i0"};
    worker.slots = random.Between(1, 2);
    worker.execution.set_precision(random.Percent(50) ? "fp32" : "bf16");
    std::vector<std::string> methods;
    if (random.Percent(70)) methods.push_back("prefix_tuning");
    const int kind = random.Below(10);
    if (kind == 0) continue;  // Of an earlier build: it says nothing.
    const std::string capability = kind < 4 ? "AVX2" : "AVX512";
    worker.abilities = Abilities{{"cpu"}, {"fp32", "bf16"}, capability, methods};
    worker.execution.set_device("cpu");
    worker.execution.set_cpu_capability(capability);
    if (kind == 1) worker.abilities->devices.clear();  // It has had no engine yet.
    if (kind == 2) worker.abilities->precisions = {"fp32"};
    if (kind == 2) worker.execution.set_precision("fp32");
    if (kind < 7) continue;
    worker.abilities->devices = {"cpu", "NVIDIA H200"};
    worker.execution.set_device("NVIDIA H200");
    worker.execution.clear_cpu_capability();
  }
  return workers;
}

}  // namespace

Simulation::Simulation(const Plan& plan)
    : plan_(plan),
      random_(plan.seed),
      workers_(AnyWorkers(plan.seed)),
      server_(plan.store, AnyOptions(plan.seed), Preempts(plan.seed), [this] { return Present(); }),
      model_(server_.options(), server_.clock()) {}

void Simulation::Run() {
  for (begun_ = 0; begun_ < plan_.operations && wrong_.empty(); ++begun_) {
    if (plan_.left_out.contains(begun_)) continue;
    random_ = SeededRandom(plan_.seed, static_cast<uint64_t>(begun_));
    Operation();
    Compare();
    if (begun_ % kOperationsBetweenThoroughComparisons == 0) CompareThoroughly();
  }
  if (wrong_.empty()) CompareThoroughly();
  if (wrong_.empty()) LetAllEnd();
  if (wrong_.empty()) CompareThoroughly();
}

void Simulation::Operation() {
  if (random_.Percent(5)) {
    server_.faults().fault = random_.Percent(50) ? Fault::kUndone : Fault::kAnswerLost;
  }
  const int choice = random_.Below(100);
  if (choice < 27) {
    DoSomethingToJobs();
  } else if (choice < 75) {
    WorkSomewhere();
  } else if (choice < 85) {
    PassTime();
  } else if (choice < 96) {
    Tick();
  } else if (choice < 98) {
    DeleteOld();
  } else if (choice < 99) {
    ForgetEnd();
  } else {
    RestartServer();
  }
  server_.faults() = FaultPlan();
}

void Simulation::Compare() {
  if (!wrong_.empty()) return;
  std::string difference;
  for (const std::string& job : model_.TakeTouched()) {
    if (!difference.empty()) break;
    difference = CompareJob(server_.store(), model_, job, EventsCompared::kLast);
  }
  if (difference.empty()) difference = CompareQueue(server_.store(), model_);
  if (!difference.empty()) Wrong(difference);
}

void Simulation::CompareThoroughly() {
  if (!wrong_.empty()) return;
  const std::string difference = CompareAll(server_.store(), model_);
  if (!difference.empty()) Wrong(difference);
}

void Simulation::Wrong(const std::string& what) {
  if (wrong_.empty()) wrong_ = what;
}

void Simulation::Tell(const std::string& what) {
  history_.push_back(absl::StrCat(
      begun_, " ", absl::FormatDuration(server_.clock().Boottime() - absl::Seconds(1000)), " ",
      what));
}

}  // namespace graft::simulation
