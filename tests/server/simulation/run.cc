#include "tests/server/simulation/run.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace graft::simulation {
namespace {

bool GoesWrong(const Plan& plan) {
  Simulation simulation(plan);
  simulation.Run();
  return !simulation.wrong().empty();
}

// Leaves out as many operations as it goes wrong without: half of them at a time, then ever fewer.
Plan Shrink(Plan plan) {
  for (int length = plan.operations / 2; length > 0; length /= 2) {
    for (int begin = 0; begin < plan.operations; begin += length) {
      Plan shorter = plan;
      for (int i = begin; i < std::min(begin + length, plan.operations); ++i) {
        shorter.left_out.insert(i);
      }
      if (shorter.left_out.size() > plan.left_out.size() && GoesWrong(shorter)) plan = shorter;
    }
  }
  return plan;
}

std::string Describe(const Plan& plan) {
  Simulation simulation(plan);
  simulation.Run();
  return absl::StrCat(absl::StrJoin(simulation.history(), "\n"), "\n", simulation.wrong(),
                      "\n\nAgain: simulation_test --seed ", plan.seed, " --store ",
                      plan.store == StoreKind::kMemory ? "memory" : "sqlite", " --operations ",
                      plan.operations, "\n");
}

}  // namespace

Report RunSeeds(Plan plan, int seeds) {
  Report report;
  for (; report.seeds < seeds; ++plan.seed) {
    Simulation simulation(plan);
    simulation.Run();
    ++report.seeds;
    report.operations += simulation.begun();
    if (simulation.wrong().empty()) continue;
    plan.operations = std::min(simulation.begun(), plan.operations);
    report.wrong = Describe(Shrink(plan));
    break;
  }
  return report;
}

}  // namespace graft::simulation
