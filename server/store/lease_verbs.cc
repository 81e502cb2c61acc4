#include "server/store/lease_verbs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"

namespace graft {
namespace {

constexpr int kQueuePage = 256;  // Rows read at once while looking for those that may run.
// Jobs that one transaction fails by their deadline, at the most.
constexpr int kOverduePage = 100;

absl::Status VersionChanged(const JobRow& row) {
  return WithReason(
      absl::AbortedError(absl::StrCat(row.job.name(), " is ", StateName(row.job.state()),
                                      " in version ", row.version, " by now")),
      kReasonVersionChanged);
}

absl::StatusOr<Claim> ReadClaim(VerbContext& context, const JobRow& row, const LeaseRow& lease) {
  Claim claim;
  ASSIGN_OR_RETURN(claim.job, WholeJob(context, row));
  claim.attempt = lease.attempt;
  claim.lease_epoch = lease.lease_epoch;
  ASSIGN_OR_RETURN(const auto attempt, context.tables.FindAttempt(row.number, lease.attempt));
  if (attempt && attempt->attempt.resumed_from_step() > 0) {
    claim.checkpoint_step = attempt->attempt.resumed_from_step();
    ASSIGN_OR_RETURN(claim.checkpoint,
                     context.tables.ListFiles(HolderKind::kCheckpoint,
                                              CheckpointHolder(row.number, claim.checkpoint_step)));
  }
  return claim;
}

absl::Status BeginAttempt(VerbContext& context, JobRow& row, const LeaseRow& lease) {
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(row.number));
  const int64_t resumed = checkpoints.empty() ? 0 : checkpoints[0].step;
  AttemptRow attempt;
  attempt.job = row.number;
  attempt.lease_epoch = lease.lease_epoch;
  attempt.worker = lease.worker;
  attempt.attempt.set_number(lease.attempt);
  attempt.attempt.set_worker(lease.worker.id);
  attempt.attempt.set_resumed_from_step(resumed);
  *attempt.attempt.mutable_start_time() = ToTimestamp(context.Now());
  RETURN_IF_ERROR(context.tables.PutAttempt(attempt));
  row.job.set_attempt(lease.attempt);
  row.job.set_step(resumed);
  const std::string from = resumed > 0 ? absl::StrCat(" from step ", resumed) : "";
  return SetState(
      context, row, v1::JOB_STATE_RUNNING,
      {absl::StrCat("claimed by worker ", lease.worker.id,
                    lease.attempt > 1 ? absl::StrCat(", attempt ", lease.attempt) : "", from)});
}

QueuedJob Queued(const JobRow& row, absl::Duration not_before) {
  return {row.job.name(), row.version,       row.job.priority(), row.number,
          not_before,     row.job.attempt(), row.needs};
}

absl::StatusOr<std::vector<QueuedJob>> QueuedWith(VerbContext& context,
                                                  const std::optional<JobNeeds>& needs, int limit) {
  const absl::Duration now = context.Boottime();
  std::vector<QueuedJob> jobs;
  std::optional<JobKey> after;
  const int page = std::min(limit, kQueuePage);
  while (jobs.size() < static_cast<size_t>(limit)) {
    ASSIGN_OR_RETURN(const auto rows, context.tables.ListQueue(needs, after, page));
    for (const JobRow& row : rows) {
      const absl::Duration not_before = context.times.NotBefore(row.number);
      after = {row.job.priority(), row.number};
      if (not_before > now || jobs.size() == static_cast<size_t>(limit)) continue;
      jobs.push_back(Queued(row, not_before));
    }
    if (rows.size() < static_cast<size_t>(page)) break;
  }
  return jobs;
}

google::rpc::Status LostError(absl::string_view message) {
  google::rpc::Status error;
  error.set_code(static_cast<int>(absl::StatusCode::kUnavailable));
  error.set_message(std::string(message));
  return error;
}

// The lease has ended without a report.
absl::StatusOr<std::string> EndLease(VerbContext& context, const LeaseRow& lease,
                                     absl::string_view why, absl::string_view cause) {
  ASSIGN_OR_RETURN(JobRow row, RequireJob(context, lease.job));
  const v1::JobState previous = row.job.state();
  RETURN_IF_ERROR(context.tables.DeleteLease(lease.job));
  const google::rpc::Status error = LostError(why);
  ASSIGN_OR_RETURN(const AttemptRow attempt,
                   EndAttempt(context, row, lease.attempt,
                              {v1::ATTEMPT_OUTCOME_LEASE_LOST, &error, /*reported=*/false}));
  ++row.lease_epoch;
  RETURN_IF_ERROR(LoseAttempt(context, row, {error, std::string(cause), RunTime(context, lease)}));
  RETURN_IF_ERROR(SaveJob(context, row, previous, nullptr));
  NoteAttempt(context, attempt, AttemptEnd::kInfrastructure);
  return row.job.name();
}

// Whatever its state. A worker that holds it hears that the lease is over.
absl::StatusOr<std::string> EndOverdue(VerbContext& context, int64_t number) {
  ASSIGN_OR_RETURN(JobRow row, RequireJob(context, number));
  const v1::JobState previous = row.job.state();
  ChangeReason reason;
  reason.text = absl::StrCat(
      "its deadline, ",
      absl::FormatTime(absl::RFC3339_sec, FromTimestamp(row.job.deadline()), absl::UTCTimeZone()),
      ", came while it was ", StateName(previous));
  reason.error.set_code(static_cast<int>(absl::StatusCode::kDeadlineExceeded));
  reason.error.set_message(reason.text);
  reason.failure_class = v1::FAILURE_CLASS_DEADLINE;
  ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, context.tables.FindLease(number));
  if (lease) {
    RETURN_IF_ERROR(context.tables.DeleteLease(number));
    RETURN_IF_ERROR(EndAttempt(context, row, lease->attempt,
                               {v1::ATTEMPT_OUTCOME_CANCELLED, &reason.error, /*reported=*/false})
                        .status());
    ++row.lease_epoch;
  }
  context.ForgetTimes(number);
  RETURN_IF_ERROR(SetState(context, row, v1::JOB_STATE_FAILED, reason));
  RETURN_IF_ERROR(SaveJob(context, row, previous, lease ? &*lease : nullptr));
  return row.job.name();
}

}  // namespace

absl::StatusOr<std::vector<QueuedJob>> DoQueuedJobs(VerbContext& context, int limit,
                                                    const NeedsFilter& filter) {
  if (filter == nullptr) return QueuedWith(context, std::nullopt, limit);
  ASSIGN_OR_RETURN(const std::vector<JobNeeds> needs, context.tables.ListQueuedNeeds());
  if (std::all_of(needs.begin(), needs.end(), filter)) {
    return QueuedWith(context, std::nullopt, limit);
  }
  std::vector<QueuedJob> jobs;
  for (const JobNeeds& each : needs) {
    if (!filter(each)) continue;
    ASSIGN_OR_RETURN(const auto found, QueuedWith(context, each, limit));
    jobs.insert(jobs.end(), found.begin(), found.end());
  }
  std::sort(jobs.begin(), jobs.end(), [](const QueuedJob& a, const QueuedJob& b) {
    return std::pair(-int64_t{a.priority}, a.number) < std::pair(-int64_t{b.priority}, b.number);
  });
  jobs.resize(std::min(jobs.size(), static_cast<size_t>(limit)));
  return jobs;
}

absl::StatusOr<QueuePart> DoReadQueue(VerbContext& context, const std::optional<QueuePlace>& after,
                                      int limit) {
  QueuePart part;
  std::optional<JobKey> key;
  if (after) {
    key = {after->priority, after->number};
    // Whoever has that place itself stands before the part.
    ASSIGN_OR_RETURN(part.before,
                     context.tables.CountQueuedBefore({after->priority, after->number + 1}));
  }
  ASSIGN_OR_RETURN(part.total, context.tables.CountJobs(v1::JOB_STATE_QUEUED));
  ASSIGN_OR_RETURN(std::vector<JobRow> rows, context.tables.ListQueue(std::nullopt, key, limit));
  for (JobRow& row : rows) {
    row.job.set_method(row.method);
    QueuedJob queued = Queued(row, context.times.NotBefore(row.number));
    part.jobs.push_back({std::move(queued), std::move(row.job)});
  }
  return part;
}

absl::Status DoForgiveFailures(VerbContext& context, absl::string_view job, int failures) {
  ASSIGN_OR_RETURN(JobRow row, RequireJob(context, job));
  if (row.job.done() || row.failures_in_row == 0) return absl::OkStatus();
  row.failures_in_row = std::max(0, row.failures_in_row - failures);
  row.failures_alike = std::min(row.failures_alike, row.failures_in_row);
  return SaveJob(context, row, row.job.state());
}

absl::StatusOr<Claim> DoClaimJob(VerbContext& context, const ClaimRequest& request) {
  if (!request.request_id.empty()) {
    absl::StatusOr<Claim> claim = DoFindClaim(context, request.worker, request.request_id);
    if (!absl::IsNotFound(claim.status())) return claim;
  }
  ASSIGN_OR_RETURN(JobRow row, RequireJob(context, request.job));
  if (row.version != request.expected_version || row.job.state() != v1::JOB_STATE_QUEUED) {
    return VersionChanged(row);
  }
  ++row.lease_epoch;
  LeaseRow lease;
  lease.job = row.number;
  lease.attempt = row.job.attempt() + 1;
  lease.worker = request.worker;
  lease.lease_epoch = row.lease_epoch;
  lease.request_id = request.request_id;
  RETURN_IF_ERROR(context.tables.InsertLease(lease));
  RETURN_IF_ERROR(BeginAttempt(context, row, lease));
  RETURN_IF_ERROR(SaveJob(context, row, v1::JOB_STATE_QUEUED, &lease));
  context.ForgetTimes(row.number);
  context.ExtendLease(row.number, row.lease_epoch);
  return ReadClaim(context, row, lease);
}

absl::StatusOr<Claim> DoFindClaim(VerbContext& context, const WorkerRef& worker,
                                  absl::string_view request_id) {
  ASSIGN_OR_RETURN(const auto leases, context.tables.ListLeases());
  for (const LeaseRow& lease : leases) {
    if (lease.worker.id != worker.id || lease.worker.instance != worker.instance ||
        lease.request_id != request_id) {
      continue;
    }
    ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, lease.job));
    // The worker counts a whole lease from the call that this answers.
    context.ExtendLease(lease.job, lease.lease_epoch);
    return ReadClaim(context, row, lease);
  }
  return absl::NotFoundError(absl::StrCat("request ", request_id, " has no lease"));
}

absl::StatusOr<std::vector<LeaseRenewal>> DoRenewLeases(
    VerbContext& context, const WorkerRef& worker,
    absl::Span<const std::pair<std::string, int64_t>> job_and_lease_epoch) {
  std::vector<LeaseRenewal> renewals;
  for (const auto& [job, lease_epoch] : job_and_lease_epoch) {
    LeaseRenewal renewal;
    renewal.job = job;
    renewal.lease_epoch = lease_epoch;
    const absl::StatusOr<HeldJob> held = RequireLease(context, {job, lease_epoch, worker});
    if (held.ok()) {
      renewal.held = true;
      renewal.cancel = held->row.job.state() == v1::JOB_STATE_CANCELLING;
      renewal.cancel_saves = held->row.job.cancel_saves();
      renewal.pause =
          held->row.job.state() == v1::JOB_STATE_PAUSING || !held->row.job.preempted_by().empty();
      renewal.checkpoint_step = held->row.job.requested_checkpoint_step();
      context.ExtendLease(held->row.number, lease_epoch);
    } else if (ReasonOf(held.status()) != kReasonStaleLease) {
      return held.status();
    }
    renewals.push_back(std::move(renewal));
  }
  return renewals;
}

absl::StatusOr<std::vector<LeaseHolder>> DoListLeases(VerbContext& context) {
  ASSIGN_OR_RETURN(const auto leases, context.tables.ListLeases());
  std::vector<LeaseHolder> holders;
  for (const LeaseRow& lease : leases) {
    ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, lease.job));
    holders.push_back({row.job.name(), lease.worker.id});
  }
  return holders;
}

absl::StatusOr<std::vector<std::string>> DoExpireLeases(VerbContext& context) {
  const absl::Duration now = context.Boottime();
  std::vector<std::string> ended;
  ASSIGN_OR_RETURN(const auto leases, context.tables.ListLeases());
  for (const LeaseRow& lease : leases) {
    const auto end = context.times.LeaseEnd(lease.job, lease.lease_epoch);
    if (!end.has_value()) {
      // Its term begins when the store that was opened anew looks at it first.
      context.ExtendLease(lease.job, lease.lease_epoch);
      continue;
    }
    if (*end > now) continue;
    ASSIGN_OR_RETURN(
        std::string job,
        EndLease(context, lease, absl::StrCat("lease of worker ", lease.worker.id, " expired"),
                 "lease expired"));
    ended.push_back(std::move(job));
  }
  return ended;
}

absl::StatusOr<absl::Duration> DoNextExpiry(VerbContext& context) {
  const absl::Duration now = context.Boottime();
  absl::Duration next = absl::InfiniteDuration();
  ASSIGN_OR_RETURN(const auto leases, context.tables.ListLeases());
  for (const LeaseRow& lease : leases) {
    next = std::min(next, context.times.LeaseEnd(lease.job, lease.lease_epoch).value_or(now));
  }
  return next;
}

absl::StatusOr<std::vector<HeldJobView>> DoHeldJobs(VerbContext& context) {
  ASSIGN_OR_RETURN(const auto leases, context.tables.ListLeases());
  std::vector<HeldJobView> jobs;
  for (const LeaseRow& lease : leases) {
    ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, lease.job));
    jobs.push_back({row.job.name(), lease.worker.id, lease.lease_epoch, row.job.state(),
                    row.job.priority(), row.number, row.job.preempted_by(), row.job.eta_seconds(),
                    FromTimestamp(row.job.update_time())});
  }
  return jobs;
}

absl::Status DoPreemptJob(VerbContext& context, const HeldJobView& job, absl::string_view other) {
  ASSIGN_OR_RETURN(JobRow row, RequireJob(context, job.name));
  ASSIGN_OR_RETURN(const JobRow urgent, RequireJob(context, other));
  if (row.job.state() != v1::JOB_STATE_RUNNING || row.lease_epoch != job.lease_epoch ||
      urgent.job.state() != v1::JOB_STATE_QUEUED) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          row.job.name(), " is ", StateName(row.job.state()), " by now, ",
                          urgent.job.name(), " ", StateName(urgent.job.state()))),
                      kReasonWrongState);
  }
  row.job.set_preempted_by(urgent.job.name());
  return SaveJob(context, row, row.job.state());
}

absl::StatusOr<std::vector<std::string>> DoEndOverdue(VerbContext& context) {
  std::vector<std::string> ended;
  ASSIGN_OR_RETURN(const auto deadlines, context.tables.ListDeadlines(kOverduePage));
  for (const auto& [number, deadline] : deadlines) {
    if (deadline > context.Now()) break;
    ASSIGN_OR_RETURN(std::string job, EndOverdue(context, number));
    ended.push_back(std::move(job));
  }
  return ended;
}

absl::StatusOr<absl::Time> DoNextDeadline(VerbContext& context) {
  ASSIGN_OR_RETURN(const auto deadlines, context.tables.ListDeadlines(1));
  return deadlines.empty() ? absl::InfiniteFuture() : deadlines[0].time;
}

absl::StatusOr<std::vector<std::string>> DoReleaseOtherInstances(VerbContext& context,
                                                                 const WorkerRef& worker) {
  std::vector<std::string> ended;
  ASSIGN_OR_RETURN(const auto leases, context.tables.ListLeases());
  for (const LeaseRow& lease : leases) {
    if (lease.worker.id != worker.id || lease.worker.instance == worker.instance) continue;
    ASSIGN_OR_RETURN(
        std::string job,
        EndLease(context, lease, absl::StrCat("worker ", lease.worker.id, " was restarted"),
                 "worker restarted"));
    ended.push_back(std::move(job));
  }
  return ended;
}

absl::Duration RunTime(VerbContext& context, const LeaseRow& lease) {
  const absl::Duration now = context.Boottime();
  return now - context.times.LeaseBegin(lease.job, lease.lease_epoch).value_or(now);
}

absl::Status LoseAttempt(VerbContext& context, JobRow& row, const AttemptFailure& failure) {
  const google::rpc::Status& error = failure.error;
  context.ForgetTimes(row.number);
  if (row.job.state() == v1::JOB_STATE_CANCELLING) {
    return SetState(context, row, v1::JOB_STATE_CANCELLED,
                    {absl::StrCat("cancelled; ", error.message())});
  }
  if (row.job.state() == v1::JOB_STATE_PAUSING) {
    return BecomePaused(context, row, {error.message(), error, v1::FAILURE_CLASS_INFRASTRUCTURE});
  }
  CountFailure(row, failure);
  ChangeReason reason;
  reason.error = error;
  reason.failure_class = v1::FAILURE_CLASS_INFRASTRUCTURE;
  const std::string counts = CountsText(context.options, row);
  if (FailedTooOften(context.options, row)) {
    reason.text = absl::StrCat(error.message(), "; not tried again: ", counts);
    reason.error.set_message(reason.text);
    return SetState(context, row, v1::JOB_STATE_FAILED, reason);
  }
  ASSIGN_OR_RETURN(const std::string how, HowItGoesOn(context, row));
  reason.text = absl::StrCat(error.message(), "; ", how, " (", counts, ")");
  context.NotBefore(row.number, context.Boottime() + RetryDelay(context.options, row));
  return SetState(context, row, v1::JOB_STATE_QUEUED, reason);
}

absl::Status LoseAttemptAnywhere(VerbContext& context, JobRow& row, ChangeReason reason,
                                 google::rpc::Status error) {
  ++row.failures_in_row;
  absl::StrAppend(&reason.text, "; failure ", row.failures_in_row, " of ",
                  context.options.max_failures_without_progress, " without progress");
  if (!FailedTooOften(context.options, row)) {
    return SetState(context, row, v1::JOB_STATE_QUEUED, reason);
  }
  reason.error = std::move(error);
  reason.error.set_message(reason.text);
  reason.failure_class = v1::FAILURE_CLASS_INFRASTRUCTURE;
  return SetState(context, row, v1::JOB_STATE_FAILED, reason);
}

absl::StatusOr<AttemptRow> EndAttempt(VerbContext& context, const JobRow& job, int32_t attempt,
                                      const EndOfAttempt& end) {
  ASSIGN_OR_RETURN(std::optional<AttemptRow> row, context.tables.FindAttempt(job.number, attempt));
  if (!row) return absl::InternalError(absl::StrCat("attempt ", attempt, " has no row"));
  *row->attempt.mutable_end_time() = ToTimestamp(context.Now());
  row->attempt.set_last_step(job.job.step());
  // Progress is reported a few times a second only.
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(job.number));
  for (const CheckpointRow& saved : checkpoints) {
    if (saved.attempt != attempt) continue;
    row->attempt.set_last_step(std::max(row->attempt.last_step(), saved.step));
  }
  row->attempt.set_outcome(end.outcome);
  if (end.error != nullptr) *row->attempt.mutable_error() = *end.error;
  row->end_reported = end.reported;
  RETURN_IF_ERROR(context.tables.PutAttempt(*row));
  return *std::move(row);
}

}  // namespace graft
