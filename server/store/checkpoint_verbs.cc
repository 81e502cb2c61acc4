#include "server/store/checkpoint_verbs.h"

#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/continuation.h"
#include "server/store/lease_verbs.h"
#include "server/store/needs.h"

namespace graft {
namespace {

absl::StatusOr<JobNeeds> NeedsNow(VerbContext& context, int64_t job) {
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(job));
  if (!checkpoints.empty()) return checkpoints[0].needs;
  ASSIGN_OR_RETURN(const v1::Job specs, context.tables.ReadSpecs(job));
  return NeedsOf(specs.resolved_spec());
}

}  // namespace

absl::StatusOr<bool> DropCorruptCheckpoint(VerbContext& context, JobRow& row,
                                           const google::rpc::Status& error) {
  const std::optional<int64_t> step = CorruptCheckpointOf(error);
  if (!step.has_value()) return false;
  ASSIGN_OR_RETURN(const auto before, context.tables.ListCheckpoints(row.number));
  const auto names_it = [&](const CheckpointRow& checkpoint) { return checkpoint.step == *step; };
  if (!absl::c_any_of(before, names_it)) return false;
  RETURN_IF_ERROR(DropCheckpoint(context, row.number, *step));
  ASSIGN_OR_RETURN(row.needs, NeedsNow(context, row.number));
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
    v1::JobCheckpoint& checkpoint = checkpoints.emplace_back();
    checkpoint.set_name(CheckpointName(row.job.name(), each.step));
    checkpoint.set_step(each.step);
    checkpoint.set_attempt(each.attempt);
    ASSIGN_OR_RETURN(
        const auto files,
        context.tables.ListFiles(HolderKind::kCheckpoint, CheckpointHolder(row.number, each.step)));
    int64_t bytes = 0;
    for (const v1::Artifact& file : files) bytes += file.size_bytes();
    checkpoint.set_size_bytes(bytes);
  }
  return checkpoints;
}

absl::StatusOr<int64_t> DoPruneCheckpoints(VerbContext& context, int limit) {
  ASSIGN_OR_RETURN(const auto old,
                   context.tables.ListKeptBefore(
                       context.running_time - context.options.checkpoint_lifetime, limit));
  for (const auto& [job, step] : old) RETURN_IF_ERROR(DropCheckpoint(context, job, step));
  return static_cast<int64_t>(old.size());
}

}  // namespace graft
