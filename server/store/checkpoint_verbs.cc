#include "server/store/checkpoint_verbs.h"

#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/continuation.h"
#include "common/jobs/timestamps.h"
#include "server/store/checkpoint_policy.h"
#include "server/store/lease_verbs.h"
#include "server/store/needs.h"

namespace graft {
namespace {

constexpr int kMaxPinned = 100;

v1::JobCheckpoint Describe(const JobRow& job, const CheckpointRow& row) {
  v1::JobCheckpoint checkpoint;
  checkpoint.set_name(CheckpointName(job.job.name(), row.step));
  checkpoint.set_step(row.step);
  checkpoint.set_attempt(row.attempt);
  checkpoint.set_pinned(row.pinned);
  if (row.create_time) *checkpoint.mutable_create_time() = ToTimestamp(*row.create_time);
  return checkpoint;
}

absl::StatusOr<std::vector<v1::Artifact>> FilesOf(VerbContext& context, const JobRow& job,
                                                  int64_t step) {
  return context.tables.ListFiles(HolderKind::kCheckpoint, CheckpointHolder(job.number, step));
}

absl::StatusOr<v1::JobCheckpoint> DescribeWithSize(VerbContext& context, const JobRow& job,
                                                   const CheckpointRow& row) {
  v1::JobCheckpoint checkpoint = Describe(job, row);
  ASSIGN_OR_RETURN(const auto files, FilesOf(context, job, row.step));
  int64_t bytes = 0;
  for (const v1::Artifact& file : files) bytes += file.size_bytes();
  checkpoint.set_size_bytes(bytes);
  return checkpoint;
}

// The checkpoint of this name and its job. NOT_FOUND names those that there are.
struct NamedCheckpoint {
  JobRow job;
  CheckpointRow row;
  int pinned = 0;  // Of the job, in all.
};
absl::StatusOr<NamedCheckpoint> RequireCheckpoint(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(const CheckpointRef ref, ParseCheckpointName(name, "name"));
  NamedCheckpoint found;
  ASSIGN_OR_RETURN(found.job, RequireJob(context, ref.job));
  ASSIGN_OR_RETURN(const auto rows, context.tables.ListCheckpoints(found.job.number));
  std::vector<int64_t> steps;
  for (const CheckpointRow& row : rows) {
    steps.push_back(row.step);
    found.pinned += row.pinned;
    if (row.step == ref.step) found.row = row;
  }
  if (found.row.step > 0) return found;
  return absl::NotFoundError(absl::StrCat(
      found.job.job.name(), " has no checkpoint of step ", ref.step,
      steps.empty() ? ", nor any other" : absl::StrCat("; it has ", absl::StrJoin(steps, ", "))));
}

}  // namespace

absl::StatusOr<JobNeeds> NeedsNow(VerbContext& context, const JobRow& row) {
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(row.number));
  if (!checkpoints.empty() && !row.job.allow_migration()) return checkpoints[0].needs;
  ASSIGN_OR_RETURN(const v1::Job specs, context.tables.ReadSpecs(row.number));
  return NeedsOf(specs.resolved_spec());
}

absl::StatusOr<bool> DropCorruptCheckpoint(VerbContext& context, JobRow& row,
                                           const google::rpc::Status& error) {
  const std::optional<int64_t> step = CorruptCheckpointOf(error);
  if (!step.has_value()) return false;
  ASSIGN_OR_RETURN(const auto before, context.tables.ListCheckpoints(row.number));
  const auto names_it = [&](const CheckpointRow& checkpoint) { return checkpoint.step == *step; };
  if (!absl::c_any_of(before, names_it)) return false;
  RETURN_IF_ERROR(DropCheckpoint(context, row.number, *step));
  ASSIGN_OR_RETURN(row.needs, NeedsNow(context, row));
  v1::JobEvent event;
  event.mutable_warning()->set_code(kReasonCheckpointCorrupt);
  event.mutable_warning()->set_text(
      absl::StrCat("the checkpoint of step ", *step, " was dropped: ", error.message()));
  RETURN_IF_ERROR(AddEvent(context, row, std::move(event)));
  return true;
}

absl::Status GoOnFromEarlier(VerbContext& context, JobRow& row, const google::rpc::Status& error) {
  ASSIGN_OR_RETURN(const std::string how, HowItGoesOn(context, row));
  return LoseAttemptAnywhere(context, row, {absl::StrCat(error.message(), "; ", how)}, error);
}

absl::StatusOr<std::vector<v1::JobCheckpoint>> DoListCheckpoints(VerbContext& context,
                                                                 absl::string_view name) {
  ASSIGN_OR_RETURN(const JobRow row, RequireJob(context, name));
  ASSIGN_OR_RETURN(const auto rows, context.tables.ListCheckpoints(row.number));
  std::vector<v1::JobCheckpoint> checkpoints;
  for (const CheckpointRow& each : rows) {
    ASSIGN_OR_RETURN(checkpoints.emplace_back(), DescribeWithSize(context, row, each));
  }
  return checkpoints;
}

absl::StatusOr<CheckpointFiles> DoReadCheckpoint(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(const NamedCheckpoint found, RequireCheckpoint(context, name));
  CheckpointFiles checkpoint;
  ASSIGN_OR_RETURN(checkpoint.job, WholeJob(context, found.job));
  checkpoint.step = found.row.step;
  ASSIGN_OR_RETURN(checkpoint.files, FilesOf(context, found.job, found.row.step));
  return checkpoint;
}

absl::StatusOr<v1::JobCheckpoint> DoPinCheckpoint(VerbContext& context, absl::string_view name,
                                                  bool pinned) {
  ASSIGN_OR_RETURN(NamedCheckpoint found, RequireCheckpoint(context, name));
  CheckpointRow& row = found.row;
  if (row.pinned != pinned) {
    if (pinned && found.pinned >= kMaxPinned) {
      return absl::FailedPreconditionError(
          absl::StrCat(found.job.job.name(), " has ", found.pinned,
                       " pinned checkpoints, as many as it may; let one go first"));
    }
    row.pinned = pinned;
    row.kept_since.reset();
    if (!pinned && found.job.job.done()) row.kept_since = context.running_time;
    RETURN_IF_ERROR(context.tables.PutCheckpoint(found.job.number, row));
  }
  return DescribeWithSize(context, found.job, row);
}

absl::StatusOr<int64_t> DoPruneCheckpoints(VerbContext& context, int limit) {
  ASSIGN_OR_RETURN(const auto old,
                   context.tables.ListKeptBefore(
                       context.running_time - context.options.checkpoint_lifetime, limit));
  for (const auto& [job, step] : old) RETURN_IF_ERROR(DropCheckpoint(context, job, step));
  return static_cast<int64_t>(old.size());
}

}  // namespace graft
