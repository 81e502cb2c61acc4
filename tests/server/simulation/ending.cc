#include <algorithm>

#include "tests/server/simulation/simulation.h"

namespace graft::simulation {
namespace {

// More than all failures, retries and back-offs together can take.
constexpr int kMaxRounds = 500;
constexpr uint64_t kEnding = 1'000'000;  // A random stream for each round.

}  // namespace

void Simulation::BringAbleWorkers() {
  for (Worker& worker : workers_) worker.connected = false;
  for (const char* id : {"able-1", "able-2"}) {
    Worker& worker = workers_.emplace_back();
    worker.ref = {id, "i"};
    worker.slots = 2;
    worker.abilities =
        Abilities{{"cpu", "NVIDIA H200"}, {"fp32", "bf16"}, "AVX2", {"prefix_tuning"}};
  }
}

void Simulation::ResumeAll() {
  std::vector<std::string> paused;
  for (const auto& [name, job] : model_.jobs()) {
    if (job.state == v1::JOB_STATE_PAUSED) paused.push_back(name);
  }
  for (const std::string& job : paused) {
    Do(
        absl::StrCat("resume ", job), [&] { return server_.store().ResumeJob(job, {}); },
        [&] { return model_.Resume(job, {}); });
  }
}

void Simulation::HearOfThePast() {
  Worker& worker = random_.Pick(workers_);
  if (!worker.past.empty()) Append(worker.past.front());
}

void Simulation::LetAllEnd() {
  BringAbleWorkers();
  const auto all_done = [&] {
    return std::all_of(model_.jobs().begin(), model_.jobs().end(),
                       [](const auto& job) { return IsDoneState(job.second.state); });
  };
  for (int round = 0; round < kMaxRounds && !all_done() && wrong_.empty(); ++round) {
    random_ = SeededRandom(plan_.seed, kEnding + static_cast<uint64_t>(round));
    ResumeAll();
    HearOfThePast();
    Tick();
    for (Worker& worker : workers_) {
      if (worker.connected) WorkToTheEnd(worker);
    }
    Compare();
    server_.clock().Advance(absl::Seconds(random_.Between(1, 15)));
  }
  if (wrong_.empty() && !all_done()) Wrong("some jobs never end");
}

void Simulation::WorkToTheEnd(Worker& worker) {
  while (worker.held.size() < static_cast<size_t>(worker.slots) && wrong_.empty()) {
    const size_t held = worker.held.size();
    LeaseTo(worker, false);
    if (worker.held.size() == held) break;
  }
  Renew(worker);
  while (!worker.held.empty() && wrong_.empty()) {
    HeldAttempt& held = worker.held.front();
    if (held.cancel) {
      Finish(held, AttemptCancelled{}, held.batches());
    } else if (held.pause) {
      Finish(held, AttemptPaused{}, held.batches());
    } else {
      AttemptSucceeded succeeded = StoreFixture::Success();
      if (held.evaluate) succeeded.adapter.reset();
      Finish(held, succeeded, held.batches());
    }
    worker.past.splice(worker.past.end(), worker.held, worker.held.begin());
  }
}

}  // namespace graft::simulation
