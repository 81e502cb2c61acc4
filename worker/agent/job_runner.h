#pragma once

// Runs one leased job from its lease to the end of the attempt.

#include <string>

#include "absl/status/status.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/engine_launcher.h"
#include "worker/agent/held_lease.h"
#include "worker/agent/input_cache.h"
#include "worker/agent/server_link.h"

namespace graft {

class Outbox;

// One for a slot; used by the slot's thread.
class JobRunner {
 public:
  struct Options {
    // Attempts work in folders below it; each is removed when its attempt is over.
    std::string work_directory;
    // Token ids and the like, shared by all attempts.
    std::string cache_directory;
  };
  // Counts of what happened, for telemetry. Called on the slot's thread.
  struct Outcome {
    bool engine_crashed = false;
    std::string result;  // "succeeded", "failed", "cancelled", "abandoned".
  };

  JobRunner(Options options, ServerLink& link, InputCache& inputs, EngineLauncher& launcher);

  // Blocks until the server knows how the attempt ended, the lease is lost, or `stop` is set and
  // the lease abandoned (then the job is handed back).
  Outcome Run(const worker::v1::Lease& lease, HeldLease& held, StopSignal& stop);

 private:
  absl::StatusOr<engine::v1::Run> PrepareRun(const worker::v1::Lease& lease,
                                             const std::string& work_directory, StopSignal& stop);
  // Everything up to the engine's end; returns what to tell the server.
  worker::v1::FinishAttemptRequest RunEngine(const engine::v1::Run& run, HeldLease& held,
                                             Outbox& outbox, StopSignal& stop, Outcome& outcome);
  absl::Status Finish(worker::v1::FinishAttemptRequest request, const std::string& work_directory,
                      HeldLease& held, Outbox& outbox, StopSignal& stop);
  void HandBack(const HeldLease& held, const absl::Status& why);

  const Options options_;
  ServerLink& link_;
  InputCache& inputs_;
  EngineLauncher& launcher_;
};

}  // namespace graft
