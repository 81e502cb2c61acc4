#pragma once

// A study on a server, from its creation to its end. What its trials' losses are follows from the
// seed alone; so does, in an undisturbed run, everything else: one trial after the other, each to
// where it was told to go. A disturbed one is the same study with several trials at a time, workers
// that die, writes that fail, late looks at what came, pauses and restarts. What it comes to must
// be the same.

#include <cstdint>
#include <list>
#include <string>

#include "tests/server/simulation/seeded_random.h"
#include "tests/server/simulation/simulated_server.h"
#include "tests/server/store/studies.h"

namespace graft::simulation {

class StudyRun {
 public:
  enum class Kind { kUndisturbed, kDisturbed };
  StudyRun(StoreKind store, uint64_t seed, Kind kind);

  // What the study came to: its trials, decisions, ranking and best, as text.
  std::string Run();

 private:
  struct Held {
    LeaseRef lease;
    int trial = 0;
    int64_t step = 0;
    int64_t until = 0;
    int64_t batch = 0;
  };

  void Insert();
  v1::Study Get() { return *server_.store().GetStudy(study_); }
  bool IsDone() { return Get().done(); }
  // As the study loop does.
  void Advance();
  void Claim();
  void Work(Held& held);
  void Finish(Held& held, const AttemptOutcome& outcome);
  void Disturb();
  void LetTimePass();
  void RenewAll();
  std::string Told();

  // What a write that failed was asked for is asked for again.
  template <typename Call>
  auto Ask(const Call& call) {
    const bool fails = kind_ == Kind::kDisturbed && random_.Percent(8);
    if (fails) server_.faults().fault = random_.Percent(50) ? Fault::kUndone : Fault::kAnswerLost;
    auto answer = call();
    if (std::exchange(server_.faults(), FaultPlan()).fired) answer = call();
    return answer;
  }

  const uint64_t seed_;
  const Kind kind_;
  SeededRandom random_;
  SimulatedServer server_;
  std::string study_;
  std::list<Held> held_;
  int requests_ = 0;
};

}  // namespace graft::simulation
