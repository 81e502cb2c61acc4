#pragma once

// A simulated worker: what it can do, and what it believes to hold.

#include <list>
#include <optional>
#include <string>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace graft::simulation {

struct HeldAttempt {
  LeaseRef lease;
  bool evaluate = false;
  int64_t resumed_from = 0;
  int64_t step = 0;
  int64_t rows = 0;
  std::optional<EventBatch> last_batch;  // That was acknowledged.
  // What it was told with its last heartbeat.
  bool cancel = false, pause = false;
  // What it reported as its end, to be reported again.
  std::optional<AttemptOutcome> outcome;

  int64_t batches() const { return last_batch ? last_batch->number : 0; }
};

struct Worker {
  WorkerRef ref;
  bool connected = true;
  int slots = 1;
  std::optional<Abilities> abilities;  // Nothing: of an earlier build.
  v1::Execution execution;
  std::string last_request;
  std::list<HeldAttempt> held;
  // Of this instance or those before: lost, reported or forgotten; it may still speak of them.
  std::list<HeldAttempt> past;
};

}  // namespace graft::simulation
