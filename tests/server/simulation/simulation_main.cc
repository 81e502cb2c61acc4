// The seeded simulator of store verbs, leases and scheduler. Without a seed it is a test of some
// seeds; with one, or a number of them:
//
//   simulation_test [--seed N] [--seeds N] [--store memory|sqlite] [--operations N]
//
// It prints what went wrong with the first seed that did, with a history; the exit status is 1.

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "tests/server/simulation/run.h"
#include "tests/server/simulation/study_run.h"

namespace graft::simulation {
namespace {

constexpr int kSeedsOfATest = 100;

// CTest runs each by itself, side by side.
class MemorySimulationTest : public ::testing::TestWithParam<int> {};

TEST_P(MemorySimulationTest, TheServerDoesWhatTheModelSays) {
  const auto first = static_cast<uint64_t>(GetParam() * kSeedsOfATest + 1);
  const Report report = RunSeeds({.store = StoreKind::kMemory, .seed = first}, kSeedsOfATest);
  EXPECT_EQ(report.wrong, "") << "after " << report.seeds << " seeds";
}
INSTANTIATE_TEST_SUITE_P(Seeds, MemorySimulationTest, ::testing::Range(0, 10));

TEST(SqliteSimulationTest, TheServerDoesWhatTheModelSays) {
  const Report report = RunSeeds({.store = StoreKind::kSqlite, .seed = 1}, 20);
  EXPECT_EQ(report.wrong, "") << "after " << report.seeds << " seeds";
}

TEST(SimulationTest, ASeedHasOneHistory) {
  for (const StoreKind store : {StoreKind::kMemory, StoreKind::kSqlite}) {
    Simulation first({.store = store, .seed = 7}), second({.store = store, .seed = 7});
    first.Run();
    second.Run();
    EXPECT_EQ(first.history(), second.history());
  }
}

// GRAFT_STUDY_SEEDS is how many each of them takes.
class StudySimulationTest : public ::testing::TestWithParam<StoreKind> {};

TEST_P(StudySimulationTest, WhatDisturbsAStudyChangesNothingOfWhatItComesTo) {
  const char* told = std::getenv("GRAFT_STUDY_SEEDS");
  uint64_t seeds = GetParam() == StoreKind::kMemory ? 300 : 30;
  ASSERT_TRUE(told == nullptr || absl::SimpleAtoi(told, &seeds)) << told;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const std::string calm = StudyRun(GetParam(), seed, StudyRun::Kind::kUndisturbed).Run();
    ASSERT_EQ(StudyRun(GetParam(), seed, StudyRun::Kind::kDisturbed).Run(), calm);
    if (HasFailure()) return;
  }
}
INSTANTIATE_TEST_SUITE_P(Stores, StudySimulationTest,
                         ::testing::Values(StoreKind::kMemory, StoreKind::kSqlite), NameOfKind);

int Usage() {
  std::cerr << "simulation_test [--seed N] [--seeds N] [--store memory|sqlite] [--operations N]\n";
  return 2;
}

int RunAsTold(const std::vector<std::string>& arguments) {
  Plan plan;
  int seeds = 1;
  if (arguments.size() % 2 != 0) return Usage();
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    const std::string& value = arguments[i + 1];
    if (name == "--store" && (value == "memory" || value == "sqlite")) {
      plan.store = value == "memory" ? StoreKind::kMemory : StoreKind::kSqlite;
    } else if (!(name == "--seed" && absl::SimpleAtoi(value, &plan.seed)) &&
               !(name == "--seeds" && absl::SimpleAtoi(value, &seeds)) &&
               !(name == "--operations" && absl::SimpleAtoi(value, &plan.operations))) {
      return Usage();
    }
  }
  const Report report = RunSeeds(plan, seeds);
  std::cout << report.wrong << report.seeds << " seeds, " << report.operations << " operations: "
            << (report.wrong.empty() ? "as the model says" : "the last one went wrong") << "\n";
  return report.wrong.empty() ? 0 : 1;
}

}  // namespace
}  // namespace graft::simulation

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return arguments.empty() ? RUN_ALL_TESTS() : graft::simulation::RunAsTold(arguments);
}
