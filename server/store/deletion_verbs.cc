#include "server/store/deletion_verbs.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_state.h"
#include "common/jobs/names.h"
#include "server/store/catalogue_verbs.h"
#include "server/store/checkpoint_policy.h"

namespace graft {
namespace {

constexpr char kDeleteVerb[] = "DeleteJob";
constexpr char kPurgeVerb[] = "PurgeJobs";
// What a purge has come to before it is over, in case that it is broken off.
constexpr char kPurgeBegunVerb[] = "PurgeJobs begun";

// The adapter or model that the job published, if it is still there.
absl::StatusOr<std::optional<ResourceRef>> FindOutput(VerbContext& context, const JobRow& row) {
  if (!row.output) return std::nullopt;
  ASSIGN_OR_RETURN(const auto resource, context.tables.FindResource(*row.output));
  if (!resource || resource->job != row.job.name()) return std::nullopt;
  return row.output;
}

absl::Status CheckDeletion(VerbContext& context, const JobRow& row, bool delete_adapter) {
  if (!row.job.done()) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          row.job.name(), " is ", StateName(row.job.state()), "; cancel it first")),
                      kReasonNotDone);
  }
  if (!delete_adapter) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto output, FindOutput(context, row));
  return output ? CheckUnused(context, *output) : absl::OkStatus();
}

// Of a job that may be deleted.
absl::StatusOr<DeletedJob> Remove(VerbContext& context, const JobRow& row, bool delete_adapter) {
  DeletedJob deleted = {row.job.name(), ""};
  if (delete_adapter) {
    ASSIGN_OR_RETURN(const auto output, FindOutput(context, row));
    if (output) RETURN_IF_ERROR(DoDeleteResource(context, *output));
    if (output) deleted.adapter = output->name;
  }
  RETURN_IF_ERROR(context.tables.PutFiles(HolderKind::kJob, absl::StrCat(row.number), {}));
  RETURN_IF_ERROR(DropAllCheckpoints(context, row.number));
  RETURN_IF_ERROR(context.tables.DeleteJob(row.number));
  context.ForgetTimes(row.number);
  JobChange change;
  change.job = row.job.name();
  change.state = change.previous_state = row.job.state();
  change.last_sequence = row.job.last_sequence();
  change.deleted = true;
  change.trial = row.job.trial();
  context.changes.push_back(std::move(change));
  return deleted;
}

// Deletes one job, or says that it would be; or what it is left for.
absl::Status Purge(VerbContext& context, const JobPurge& purge, const JobRow& row,
                   PurgeState& state) {
  v1::PurgeJobsResponse& answer = state.answer;
  const absl::Status may = CheckDeletion(context, row, purge.delete_adapters);
  if (absl::IsFailedPrecondition(may)) {
    if (answer.left_size() < kMaxPurgedNames) {
      answer.add_left(absl::StrCat(row.job.name(), ": ", may.message()));
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(may);
  if (purge.force) {
    ASSIGN_OR_RETURN(DeletedJob deleted, Remove(context, row, purge.delete_adapters));
    state.deleted.push_back(std::move(deleted));
  }
  answer.set_purge_count(answer.purge_count() + 1);
  if (answer.purge_sample_size() < kMaxPurgedNames) answer.add_purge_sample(row.job.name());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DeletedJob> DoDeleteJob(VerbContext& context, absl::string_view name,
                                       bool delete_adapter, const RequestKey& request) {
  // The answer that is kept: a job of which only the result's adapter is set.
  v1::Job kept;
  ASSIGN_OR_RETURN(const bool answered, FindAnswer(context, kDeleteVerb, request, kept));
  if (answered) {
    ASSIGN_OR_RETURN(const std::string id, ParseJobId(name));
    return DeletedJob{JobName(id), kept.result().adapter()};
  }
  ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, name));
  RETURN_IF_ERROR(CheckDeletion(context, row, delete_adapter));
  ASSIGN_OR_RETURN(DeletedJob deleted, Remove(context, row, delete_adapter));
  kept.mutable_result()->set_adapter(deleted.adapter);
  RETURN_IF_ERROR(KeepAnswer(context, kDeleteVerb, request, kept));
  return deleted;
}

absl::StatusOr<std::vector<DeletedJob>> DoPruneJobs(VerbContext& context, int limit) {
  ASSIGN_OR_RETURN(
      const std::vector<int64_t> old,
      context.tables.ListDoneBefore(context.running_time - context.options.job_lifetime,
                                    /*with_marked_ends=*/!context.options.mark_ends, limit));
  std::vector<DeletedJob> deleted;
  for (const int64_t number : old) {
    ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, number));
    ASSIGN_OR_RETURN(DeletedJob one, Remove(context, row, /*delete_adapter=*/false));
    deleted.push_back(std::move(one));
  }
  return deleted;
}

absl::StatusOr<PurgeState> DoBeginPurge(VerbContext& context, const JobPurge& purge) {
  PurgeState state;
  if (!purge.force) return state;
  ASSIGN_OR_RETURN(state.over, FindAnswer(context, kPurgeVerb, purge.request, state.answer));
  if (state.over) return state;
  RETURN_IF_ERROR(FindAnswer(context, kPurgeBegunVerb, purge.request, state.answer).status());
  state.answer.clear_left();  // They are still there to be found.
  return state;
}

absl::StatusOr<std::vector<int64_t>> DoFindPurgeable(VerbContext& context, const JobPurge& purge,
                                                     int64_t before, int limit) {
  std::vector<int64_t> numbers;
  if (purge.filter.done == false) return numbers;
  JobFilter done = purge.filter;
  done.done = true;
  ASSIGN_OR_RETURN(const auto rows,
                   context.tables.ListJobs(done, JobOrder::kNewestFirst, JobKey{0, before}, limit));
  for (const JobRow& row : rows) numbers.push_back(row.number);
  return numbers;
}

absl::StatusOr<PurgeState> DoPurgeSome(VerbContext& context, const JobPurge& purge,
                                       const std::vector<int64_t>& numbers, bool last,
                                       PurgeState state) {
  state.deleted.clear();
  for (const int64_t number : numbers) {
    ASSIGN_OR_RETURN(const std::optional<JobRow> row, context.tables.FindJob(number));
    if (row) RETURN_IF_ERROR(Purge(context, purge, *row, state));  // Else it was just deleted.
    state.before = number;
  }
  state.over = last;
  if (!purge.force) return state;
  RETURN_IF_ERROR(
      KeepAnswer(context, last ? kPurgeVerb : kPurgeBegunVerb, purge.request, state.answer));
  return state;
}

}  // namespace graft
