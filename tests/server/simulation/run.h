#pragma once

// Runs seeds, and says of the first that goes wrong how to see it again, in as few operations as
// it takes.

#include <string>

#include "tests/server/simulation/simulation.h"

namespace graft::simulation {

struct Report {
  std::string wrong;  // What, after what history, and how to replay it; empty: nothing.
  int seeds = 0;      // That were run.
  int64_t operations = 0;
};

// The plan with each of the seeds from `plan.seed` on.
Report RunSeeds(Plan plan, int seeds);

}  // namespace graft::simulation
