#pragma once

// What JobStore's verbs about leases take and give: claims, reports of workers, ends of attempts.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "google/rpc/status.pb.h"
#include "graft/v1/adapter.pb.h"
#include "graft/v1/event.pb.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/model.pb.h"
#include "server/store/job_change.h"

namespace graft {

// What every call about a claimed job carries. FAILED_PRECONDITION (STALE_LEASE) when it is not the
// job's present lease.
struct LeaseRef {
  std::string job;
  int64_t lease_epoch = 0;
  WorkerRef worker;
};

// What a worker must be able to do to take a job. Names as in v1::Execution; empty: it does not
// matter.
struct JobNeeds {
  // From the first checkpoint on what the newest one was computed with: "cpu" or a GPU's model, and
  // the CPU's instruction set.
  std::string device;
  std::string cpu_capability;
  // The spec's, or what AUTO became by the first checkpoint: "fp32", "bf16", "fp64".
  std::string precision;
  // Names of methods that the worker must know, joined by "+". Empty: all workers know them.
  std::string methods;

  bool operator==(const JobNeeds&) const = default;
};
struct JobWithNeeds {
  v1::Job job;
  JobNeeds needs;
  int64_t number = 0;  // Order of submission.
};
using NeedsFilter = std::function<bool(const JobNeeds&)>;

// A queued job as the scheduler sees it.
struct QueuedJob {
  std::string name;
  int64_t version = 0;  // For ClaimJob.
  int32_t priority = 0;
  int64_t number = 0;         // Order of submission.
  absl::Duration not_before;  // Boottime; zero: at once.
  int32_t attempt = 0;        // Attempts so far.
  JobNeeds needs;
};

// A place in the queue: behind a job of this priority and number.
struct QueuePlace {
  int32_t priority = 0;
  int64_t number = 0;
};
// A queued job as people ask about it, whether it may run yet or not.
struct WaitingJob {
  QueuedJob queued;
  v1::Job job;  // Without specs and attempts.
};
// Part of the queue.
struct QueuePart {
  int64_t before = 0;  // Jobs that stand before it.
  int64_t total = 0;   // In the whole queue.
  std::vector<WaitingJob> jobs;
};

// A claimed job: what the worker needs to run it.
struct Claim {
  v1::Job job;  // With spec and resolved_spec.
  int32_t attempt = 0;
  int64_t lease_epoch = 0;
  // Newest checkpoint; no files: from the beginning.
  std::vector<v1::Artifact> checkpoint;
  int64_t checkpoint_step = 0;
};

struct ClaimRequest {
  std::string job;
  int64_t expected_version = 0;
  WorkerRef worker;
  // Of the worker's LeaseJob call; the same again answers the same claim while it lasts.
  std::string request_id;
};

struct LeaseHolder {
  std::string job;
  std::string worker;  // Its id.
};

// A job that a worker holds, as the scheduler sees it.
struct HeldJobView {
  std::string name;
  std::string worker;  // Its id.
  int64_t lease_epoch = 0;
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  int32_t priority = 0;
  int64_t number = 0;  // Order of submission.
  std::string preempted_by;
  double eta_seconds = 0;  // Job.eta_seconds, as of update_time.
  absl::Time update_time;
};

struct LeaseRenewal {
  std::string job;
  int64_t lease_epoch = 0;
  bool held = false;
  bool cancel = false;          // The job is CANCELLING.
  bool cancel_saves = false;    // First it saves.
  bool pause = false;           // The job is PAUSING, or makes way for another.
  int64_t checkpoint_step = 0;  // One of this step or a later one is asked for; 0: none is.
};

struct EventBatch {
  int64_t number = 0;                // From 1 within the attempt.
  std::vector<v1::JobEvent> events;  // sequence and attempt are set by the store.
  // Progress of the job now; a stage of UNSPECIFIED leaves the progress as it is.
  v1::JobStage stage = v1::JOB_STAGE_UNSPECIFIED;
  int64_t step = 0;
  int64_t total_steps = 0;
  double epoch = 0;
  double eta_seconds = 0;
  int64_t stage_done = 0;
  int64_t stage_total = 0;
};

struct NewCheckpoint {
  int64_t step = 0;
  std::vector<v1::Artifact> files;
  // What it was computed with: binds the attempts that follow (JobNeeds). Without a device (a
  // worker of an earlier build) nothing is bound.
  v1::Execution execution;
};

// How an attempt ended.
struct AttemptSucceeded {
  v1::JobResult result;  // adapter, model and adapter_size_bytes are set by the store.
  // What is published under the job's output name: at most one. Name, job, method and trained_with
  // (of the adapter), base model and create_time are set by the store; files, sizes and hashes by
  // the caller.
  std::optional<v1::Adapter> adapter;
  std::optional<v1::Model> model;
  std::vector<v1::Artifact> artifacts;  // Files of the job itself.
};
struct AttemptFailed {
  google::rpc::Status error;
  v1::FailureClass failure_class = v1::FAILURE_CLASS_INTERNAL;
  // What ended it, in a word that is the same when the same happens again; empty: the error's code.
  std::string cause;
};
struct AttemptCancelled {};
struct AttemptPaused {};
// Handed back: no failure of the job.
struct AttemptReturned {
  google::rpc::Status reason;
  bool worker_fault = false;
  // It was the server that could not go on: any worker may have it again. This counts as a failure
  // without progress, so that it ends.
  bool by_server = false;
  // It was another's doing: the same worker may have it again.
  bool bystander = false;
};
using AttemptOutcome =
    std::variant<AttemptSucceeded, AttemptFailed, AttemptCancelled, AttemptPaused, AttemptReturned>;

}  // namespace graft
