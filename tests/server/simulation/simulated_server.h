#pragma once

// The code that is simulated: a JobStore of either kind and a Scheduler over it, on a clock that
// stands still until it is moved.

#include <memory>
#include <string>

#include "common/base/clock.h"
#include "server/scheduler/scheduler.h"
#include "server/store/job_store.h"
#include "tests/server/simulation/faulty_backend.h"
#include "tests/server/store/store_fixture.h"

namespace graft::simulation {

class SimulatedServer {
 public:
  SimulatedServer(StoreKind kind, StoreOptions options, bool preemption,
                  Scheduler::PresentWorkers present);

  ~SimulatedServer();

  // The process ends and starts again: what is not stored is forgotten. A store in memory stays, so
  // that only the scheduler forgets.
  void Restart();

  JobStore& store() { return *store_; }
  Scheduler& scheduler() { return *scheduler_; }
  FakeClock& clock() { return clock_; }
  const StoreOptions& options() const { return options_; }
  bool preemption() const { return preemption_; }
  bool keeps_rows() const { return kind_ == StoreKind::kSqlite; }
  // Of the next call.
  FaultPlan& faults() { return faults_; }
  // Of the job that the last call made, should it have made one: "jobs/j7".
  std::string last_job() const { return "jobs/j" + std::to_string(ids_); }

 private:
  void OpenStore();
  void StartScheduler();

  const StoreKind kind_;
  const bool preemption_;
  const Scheduler::PresentWorkers present_;
  FakeClock clock_;
  StoreOptions options_;
  int ids_ = 0;
  FaultPlan faults_;
  std::string directory_;  // Empty: a store in memory.
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace graft::simulation
