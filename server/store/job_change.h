#pragma once

// What a store tells its listeners.

#include <cstdint>
#include <functional>
#include <string>

#include "graft/v1/job.pb.h"

namespace graft {

// A process of graft-worker: `instance` is new with each start.
struct WorkerRef {
  std::string id;
  std::string instance;
};

// How an attempt ended, as far as it tells of its worker.
enum class AttemptEnd {
  kNone,            // It did not.
  kOther,           // Done, cancelled, paused, or failed by the job's own fault.
  kInfrastructure,  // Failed, or its lease ended.
  kReturned,
  kWorkerFault,  // Returned, since something is wrong with the worker.
};

// A committed change of a job, for watchers, the scheduler and telemetry.
struct JobChange {
  std::string job;
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  v1::JobState previous_state = v1::JOB_STATE_UNSPECIFIED;  // Equal when only events were added.
  int64_t last_sequence = 0;
  bool deleted = false;
  std::string trial;              // Job.trial.
  bool schedule_changed = false;  // Its priority or deadline was.
  // CANCELLING: it saves first; it was to, and need not any more.
  bool cancel_saves = false;
  bool cancel_hastened = false;
  // Who holds it while a worker does (IsHeld), or did when its deadline came.
  std::string worker;
  int64_t lease_epoch = 0;
  // Of a change of state: why, and after which attempt. The class is set when an attempt failed:
  // the new state is FAILED, or QUEUED to try again.
  std::string reason;
  int32_t attempt = 0;
  v1::FailureClass failure_class = v1::FAILURE_CLASS_UNSPECIFIED;
  // Of a change that shows the first progress of an attempt, or its end: whose attempt it is, and
  // whether it ever did more than to begin.
  WorkerRef holder;
  bool progressed = false;
  AttemptEnd end = AttemptEnd::kNone;
};
using JobListener = std::function<void(const JobChange&)>;

// Ends the subscription when destroyed: afterwards the listener is not running and will not be
// called (unless it is destroyed inside the listener itself, which is allowed).
class Subscription {
 public:
  virtual ~Subscription() = default;
};

}  // namespace graft
