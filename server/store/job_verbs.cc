#include "server/store/job_verbs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_state.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "server/store/job_insertion.h"
#include "server/store/needs.h"
#include "server/store/page_token.h"

namespace graft {
namespace {

constexpr char kCreateVerb[] = "CreateJob";
constexpr int64_t kMaxEventBytesPerRead = 1 << 20;

std::string RangeText(const std::optional<TimeRange>& range) {
  if (!range) return "*";
  return absl::StrCat(absl::ToUnixNanos(range->from), " ", absl::ToUnixNanos(range->before));
}

std::string QueryText(const JobQuery& query) {
  const JobFilter& filter = query.filter;
  std::string text = absl::StrCat(
      "jobs", static_cast<int>(query.order), "\n", filter.state ? StateName(*filter.state) : "*",
      "\n", filter.done ? absl::StrCat(*filter.done) : "*", "\n", filter.study.value_or("*"), "\n",
      filter.method.value_or("*"), "\n", filter.base_model.value_or("*"), "\n",
      filter.display_name.value_or("*"), "\n", RangeText(filter.create_time), "\n",
      RangeText(filter.end_time));
  for (const auto& [key, value] : filter.labels) absl::StrAppend(&text, "\n", key, "=", value);
  return text;
}

absl::StatusOr<std::optional<JobKey>> ReadKey(const JobQuery& query) {
  if (query.page_token.empty()) return std::optional<JobKey>();
  ASSIGN_OR_RETURN(const auto parts, ReadPageToken(QueryText(query), query.page_token, 2));
  JobKey key;
  if (!absl::SimpleAtoi(parts[0], &key.priority) || !absl::SimpleAtoi(parts[1], &key.number)) {
    return FieldViolation("page_token", "is broken");
  }
  return std::optional<JobKey>(key);
}

}  // namespace

absl::Status DoCheckJob(VerbContext& context, const NewJob& new_job) {
  if (new_job.job.has_deadline()) {
    RETURN_IF_ERROR(CheckDeadline(context, FromTimestamp(new_job.job.deadline())));
  }
  RETURN_IF_ERROR(FindStart(context, new_job.job.resolved_spec()).status());
  return CheckInsertion(context, new_job.job.resolved_spec());
}

absl::StatusOr<v1::Job> DoInsertJob(VerbContext& context, const NewJob& new_job) {
  return AnswerOnce(context, kCreateVerb, new_job.request, [&]() -> absl::StatusOr<v1::Job> {
    RETURN_IF_ERROR(DoCheckJob(context, new_job));
    JobRow row;
    row.job.set_display_name(new_job.job.display_name());
    *row.job.mutable_labels() = new_job.job.labels();
    row.job.set_priority(new_job.job.priority());
    row.job.set_study(new_job.job.study());
    if (new_job.job.has_deadline()) *row.job.mutable_deadline() = new_job.job.deadline();
    *row.job.mutable_warnings() = new_job.job.warnings();
    row.job.set_allow_migration(new_job.job.allow_migration());
    row.needs = NeedsOf(new_job.job.resolved_spec());
    v1::Job specs;
    *specs.mutable_spec() = new_job.job.spec();
    *specs.mutable_resolved_spec() = new_job.job.resolved_spec();
    ASSIGN_OR_RETURN(const auto start, FindStart(context, specs.resolved_spec()));
    const std::string how =
        start ? absl::StrCat("; ", BeginAt(*start, row), " of ", start->job.job.name()) : "";
    ASSIGN_OR_RETURN(v1::Job job,
                     InsertQueued(context, row, std::move(specs), absl::StrCat("submitted", how)));
    if (start) RETURN_IF_ERROR(GiveCheckpoint(context, *start, row));
    return job;
  });
}

absl::StatusOr<v1::Job> DoFindInserted(VerbContext& context, const RequestKey& request) {
  v1::Job answer;
  ASSIGN_OR_RETURN(const bool answered, FindAnswer(context, kCreateVerb, request, answer));
  if (!answered) return absl::NotFoundError("no such request was answered");
  return answer;
}

absl::StatusOr<JobWithNeeds> DoGetJob(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, name));
  ASSIGN_OR_RETURN(v1::Job job, WholeJob(context, row));
  if (job.state() == v1::JOB_STATE_QUEUED) {
    ASSIGN_OR_RETURN(const int64_t before,
                     context.tables.CountQueuedBefore({job.priority(), row.number}));
    job.set_queue_position(before + 1);
  }
  // Whatever is heard of the worker renews the lease to its full length.
  if (const auto end = context.times.LeaseEnd(row.number, row.lease_epoch); end.has_value()) {
    const absl::Duration silent = context.Boottime() - (*end - context.options.lease_duration);
    job.set_worker_silent_seconds(std::max(0.0, absl::ToDoubleSeconds(silent)));
  }
  return JobWithNeeds{std::move(job), row.needs, row.number};
}

absl::StatusOr<Page<v1::Job>> DoListJobs(VerbContext& context, const JobQuery& query) {
  ASSIGN_OR_RETURN(const int page_size, EffectivePageSize(query.page_size));
  ASSIGN_OR_RETURN(const std::optional<JobKey> after, ReadKey(query));
  ASSIGN_OR_RETURN(std::vector<JobRow> rows,
                   context.tables.ListJobs(query.filter, query.order, after, page_size + 1));
  Page<v1::Job> page;
  PageBounds bounds(page_size);
  int64_t last_number = 0;
  for (JobRow& row : rows) {
    row.job.set_method(row.method);
    if (!bounds.Add(row.job.ByteSizeLong())) {
      page.next_page_token =
          MakePageToken(QueryText(query),
                        {absl::StrCat(page.items.back().priority()), absl::StrCat(last_number)});
      break;
    }
    last_number = row.number;
    page.items.push_back(std::move(row.job));
  }
  return page;
}

absl::Status DoForgetEnd(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(JobRow row, RequireJob(context, name));
  row.end_marked = false;
  return context.tables.UpdateJob(row);  // Nothing that anybody else sees.
}

absl::StatusOr<std::vector<v1::Artifact>> DoListArtifacts(VerbContext& context,
                                                          absl::string_view job) {
  ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, job));
  return context.tables.ListFiles(HolderKind::kJob, absl::StrCat(row.number));
}

absl::StatusOr<std::vector<v1::JobEvent>> DoReadEvents(VerbContext& context, absl::string_view job,
                                                       int64_t after, int limit) {
  ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, job));
  return context.tables.ReadEvents(row.number, after, std::clamp(limit, 0, kMaxEventsPerRead),
                                   kMaxEventBytesPerRead);
}

}  // namespace graft
