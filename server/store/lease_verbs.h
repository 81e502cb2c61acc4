#pragma once

// JobStore's verbs about claims and leases, as functions of one transaction. Contracts:
// job_store.h.

#include "server/store/failures.h"
#include "server/store/verb_context.h"

namespace graft {

absl::StatusOr<std::vector<QueuedJob>> DoQueuedJobs(VerbContext& context, int limit,
                                                    const NeedsFilter& filter);
absl::StatusOr<QueuePart> DoReadQueue(VerbContext& context, const std::optional<QueuePlace>& after,
                                      int limit);
absl::Status DoForgiveFailures(VerbContext& context, absl::string_view job, int failures);
absl::StatusOr<Claim> DoClaimJob(VerbContext& context, const ClaimRequest& request);
// Runs as a write, as it renews the lease; it writes no row.
absl::StatusOr<Claim> DoFindClaim(VerbContext& context, const WorkerRef& worker,
                                  absl::string_view request_id);
// Runs as a write, so that no expiry comes between its check and its answer; it writes no row.
absl::StatusOr<std::vector<LeaseRenewal>> DoRenewLeases(
    VerbContext& context, const WorkerRef& worker,
    absl::Span<const std::pair<std::string, int64_t>> job_and_lease_epoch);
absl::StatusOr<std::vector<LeaseHolder>> DoListLeases(VerbContext& context);
// Goes first in its group, so that it sees what was renewed.
absl::StatusOr<std::vector<std::string>> DoExpireLeases(VerbContext& context);
absl::StatusOr<std::vector<HeldJobView>> DoHeldJobs(VerbContext& context);
absl::Status DoPreemptJob(VerbContext& context, const HeldJobView& job, absl::string_view other);
// Fails the jobs whose deadline has come. Returns them.
absl::StatusOr<std::vector<std::string>> DoEndOverdue(VerbContext& context);
// When the next deadline comes, by the date.
absl::StatusOr<absl::Time> DoNextDeadline(VerbContext& context);
// When DoExpireLeases has something to do: now, if a lease has no term yet.
absl::StatusOr<absl::Duration> DoNextExpiry(VerbContext& context);
absl::StatusOr<std::vector<std::string>> DoReleaseOtherInstances(VerbContext& context,
                                                                 const WorkerRef& worker);

// How a job goes on when its attempt was lost, by the worker's report or by the lease's end.
// RUNNING: queued again after a back-off or, after too many, FAILED; CANCELLING: CANCELLED. The
// lease must have been deleted; the row is not saved.
absl::Status LoseAttempt(VerbContext& context, JobRow& row, const AttemptFailure& failure);
// The same for what has to do with no place of the job, so that only all failures together bound
// it: RUNNING becomes QUEUED at once for `reason` or, after too many, FAILED with `error`. The
// count stands in the reason's text.
absl::Status LoseAttemptAnywhere(VerbContext& context, JobRow& row, ChangeReason reason,
                                 google::rpc::Status error);
// For how long the attempt of this lease has run.
absl::Duration RunTime(VerbContext& context, const LeaseRow& lease);
struct EndOfAttempt {
  v1::AttemptOutcome outcome = v1::ATTEMPT_OUTCOME_UNSPECIFIED;
  const google::rpc::Status* error = nullptr;
  bool reported = false;  // By its worker.
};
// Ends the row of an attempt of `job`, which is as it was, and returns it.
absl::StatusOr<AttemptRow> EndAttempt(VerbContext& context, const JobRow& job, int32_t attempt,
                                      const EndOfAttempt& end);

}  // namespace graft
