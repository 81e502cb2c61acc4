#include "server/store/failures.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace graft {
namespace {

// Two attempts ran for about the same time if they differ by no more than the greater of these.
constexpr absl::Duration kSameTime = absl::Milliseconds(500);
constexpr double kSameTimeRatio = 0.25;

std::string PlaceOf(const v1::Job& job) {
  const std::string stage =
      job.stage() == v1::JOB_STAGE_UNSPECIFIED ? "its start" : v1::JobStage_Name(job.stage());
  std::string place = absl::StrCat(absl::StripPrefix(stage, "JOB_STAGE_"), ", step ", job.step());
  // An evaluation is long: each of its rows is a place.
  if (job.stage() == v1::JOB_STAGE_EVALUATING) {
    absl::StrAppend(&place, ", ", job.stage_done(), " rows done");
  }
  return place;
}

bool SameTime(absl::Duration a, absl::Duration b) {
  const absl::Duration difference = a > b ? a - b : b - a;
  return difference <= std::max(kSameTime, kSameTimeRatio * std::max(a, b));
}

}  // namespace

void CountFailure(JobRow& row, const AttemptFailure& failure) {
  const std::string place = PlaceOf(row.job);
  const std::string cause =
      failure.cause.empty()
          ? absl::StatusCodeToString(static_cast<absl::StatusCode>(failure.error.code()))
          : failure.cause;
  const bool alike = row.failures_alike > 0 && place == row.failure_place &&
                     cause == row.failure_cause && SameTime(failure.ran, row.failure_ran);
  row.failures_alike = alike ? row.failures_alike + 1 : 1;
  ++row.failures_in_row;
  row.failure_place = place;
  row.failure_cause = cause;
  row.failure_ran = failure.ran;
}

void ForgetFailures(JobRow& row) {
  row.failures_in_row = 0;
  row.failures_alike = 0;
}

bool FailedTooOften(const StoreOptions& options, const JobRow& row) {
  return row.failures_alike >= options.max_failures_alike ||
         row.failures_in_row >= options.max_failures_without_progress;
}

absl::Duration RetryDelay(const StoreOptions& options, const JobRow& row) {
  absl::Duration delay = options.first_retry_delay;
  for (int i = 1; i < row.failures_in_row && delay < options.max_retry_delay; ++i) delay *= 2;
  return std::min(delay, options.max_retry_delay);
}

std::string CountsText(const StoreOptions& options, const JobRow& row) {
  return absl::StrCat("failure ", row.failures_alike, " of ", options.max_failures_alike, " at ",
                      row.failure_place, ", by ", row.failure_cause, "; ", row.failures_in_row,
                      " of ", options.max_failures_without_progress, " without progress");
}

}  // namespace graft
