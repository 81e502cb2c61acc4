#include "tests/server/simulation/text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/errors/status_details.h"
#include "common/jobs/timestamps.h"

namespace graft::simulation {
namespace {

std::string DeadlineText(const std::optional<absl::Time>& deadline) {
  return deadline ? absl::StrCat(" due ", absl::ToUnixMillis(*deadline)) : "";
}

std::string AttemptText(int64_t resumed_from, v1::AttemptOutcome outcome) {
  return absl::StrCat(" [from ", resumed_from, " ",
                      absl::StripPrefix(v1::AttemptOutcome_Name(outcome), "ATTEMPT_OUTCOME_"), "]");
}

std::string NamedText(const char* what, const std::string& value) {
  return value.empty() ? "" : absl::StrCat(" ", what, " ", value);
}

}  // namespace

std::string Text(v1::JobState state) {
  return std::string(absl::StripPrefix(v1::JobState_Name(state), "JOB_STATE_"));
}
std::string Text(int64_t number) { return absl::StrCat(number); }
std::string Text(const std::vector<std::string>& names) { return absl::StrJoin(names, " "); }

std::string Text(const v1::Job& job) {
  std::string text = absl::StrCat(
      job.name(), " ", Text(job.state()), " attempt ", job.attempt(), " step ", job.step(),
      " priority ", job.priority(), " events ", job.last_sequence(), " failure ",
      static_cast<int>(job.failure_class()), NamedText("makes way for", job.preempted_by()),
      NamedText("retry of", job.retry_of()), job.allow_migration() ? " migrates" : "",
      job.cancel_saves() ? " saves first" : "");
  if (job.requested_checkpoint_step() > 0) {
    absl::StrAppend(&text, " saves at ", job.requested_checkpoint_step());
  }
  if (job.has_deadline()) absl::StrAppend(&text, DeadlineText(FromTimestamp(job.deadline())));
  for (const v1::Attempt& attempt : job.attempts()) {
    absl::StrAppend(&text, AttemptText(attempt.resumed_from_step(), attempt.outcome()));
  }
  return text;
}

std::string Text(const ModelJob& job) {
  std::string text = absl::StrCat(
      job.name, " ", Text(job.state), " attempt ", job.attempts.size(), " step ", job.step,
      " priority ", job.submission.priority, " events ", job.log.size(), " failure ",
      static_cast<int>(job.failure_class), NamedText("makes way for", job.preempted_by),
      NamedText("retry of", job.retry_of), job.submission.allow_migration ? " migrates" : "",
      job.cancel_saves ? " saves first" : "");
  if (job.requested_step > 0) absl::StrAppend(&text, " saves at ", job.requested_step);
  absl::StrAppend(&text, DeadlineText(job.submission.deadline));
  for (const ModelAttempt& attempt : job.attempts) {
    absl::StrAppend(&text, AttemptText(attempt.resumed_from, attempt.outcome));
  }
  return text;
}

std::string Text(const JobNeeds& needs) {
  return absl::StrJoin({needs.device, needs.cpu_capability, needs.precision, needs.methods}, ",");
}

std::string MetricsText(const char* what, int64_t step,
                        const std::map<std::string, double>& values) {
  return absl::StrCat(what, " ", step, " ", absl::StrJoin(values, " ", absl::PairFormatter("=")));
}

std::string Text(const v1::JobEvent& event) {
  switch (event.payload_case()) {
    case v1::JobEvent::kStateChange:
      return "state " + Text(event.state_change().to());
    case v1::JobEvent::kMetrics: {
      const auto& values = event.metrics().values();
      return MetricsText("metrics", event.metrics().step(), {values.begin(), values.end()});
    }
    case v1::JobEvent::kEvaluation: {
      const auto& values = event.evaluation().values();
      return MetricsText("evaluation", event.evaluation().step(), {values.begin(), values.end()});
    }
    case v1::JobEvent::kCheckpoint:
      return absl::StrCat("checkpoint ", event.checkpoint().step());
    case v1::JobEvent::kWarning:
      return absl::StrCat("warning ", event.warning().code());
    default:
      return absl::StrCat("event ", static_cast<int>(event.payload_case()));
  }
}

std::string Text(const DeletedJob& deleted) {
  return absl::StrCat(deleted.job, NamedText("and", deleted.adapter));
}

std::string PurgeText(int64_t count, const std::vector<std::string>& names) {
  constexpr size_t kNamed = 100;
  return absl::StrCat(
      count, " purged: ",
      absl::StrJoin(names.begin(), names.begin() + std::min(kNamed, names.size()), " "));
}
std::string Text(const v1::PurgeJobsResponse& purged) {
  return PurgeText(purged.purge_count(),
                   {purged.purge_sample().begin(), purged.purge_sample().end()}) +
         (purged.left().empty() ? "" : absl::StrCat(" left: ", absl::StrJoin(purged.left(), " ")));
}

std::string Text(const v1::JobCheckpoint& checkpoint) {
  return absl::StrCat(checkpoint.step(), " of attempt ", checkpoint.attempt(),
                      checkpoint.pinned() ? " pinned" : "");
}
std::string Text(int64_t step, const ModelCheckpoint& checkpoint) {
  return absl::StrCat(step, " of attempt ", checkpoint.attempt, checkpoint.pinned ? " pinned" : "");
}

std::string Text(const std::vector<LeaseRenewal>& renewals) {
  return absl::StrJoin(renewals, "; ", [](std::string* out, const LeaseRenewal& each) {
    absl::StrAppend(out, each.job, " epoch ", each.lease_epoch, each.held ? " held" : " lost",
                    each.cancel ? " cancel" : "", each.cancel_saves ? " once saved" : "",
                    each.pause ? " pause" : "");
    if (each.checkpoint_step > 0) absl::StrAppend(out, " save at ", each.checkpoint_step);
  });
}

std::string Text(const std::optional<Claim>& claim) {
  if (!claim) return "nothing";
  std::string text = absl::StrCat(claim->job.name(), " attempt ", claim->attempt, " epoch ",
                                  claim->lease_epoch, " from ", claim->checkpoint_step);
  if (!claim->checkpoint.empty()) {
    absl::StrAppend(&text, " files ", claim->checkpoint[0].sha256().substr(0, 1));
  }
  return text;
}
std::string ClaimText(const ModelJob& job) {
  const ModelAttempt& attempt = job.attempts.back();
  std::string text = absl::StrCat(job.name, " attempt ", job.attempts.size(), " epoch ",
                                  attempt.lease_epoch, " from ", attempt.resumed_from);
  const auto checkpoint = job.checkpoints.find(attempt.resumed_from);
  if (checkpoint != job.checkpoints.end()) {
    absl::StrAppend(&text, " files ", std::string(1, checkpoint->second.files));
  }
  return text;
}

Answer Refusal(absl::StatusCode code, const std::string& reason) { return {code, reason, ""}; }
Answer StaleLease() { return Refusal(absl::StatusCode::kFailedPrecondition, kReasonStaleLease); }

std::string Text(const Answer& answer) {
  if (answer.ok()) return answer.value.empty() ? "OK" : answer.value;
  return absl::StrCat(absl::StatusCodeToString(answer.code), NamedText("", answer.reason));
}

}  // namespace graft::simulation
