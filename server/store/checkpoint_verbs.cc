#include "server/store/checkpoint_verbs.h"

#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/jobs/status_details.h"

namespace graft {

absl::StatusOr<bool> DropCorruptCheckpoint(VerbContext& context, JobRow& row,
                                           const google::rpc::Status& error) {
  const std::optional<int64_t> step = CorruptCheckpointOf(error);
  if (!step.has_value()) return false;
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, context.tables.ListCheckpoints(row.number));
  if (!absl::c_linear_search(steps, *step)) return false;
  RETURN_IF_ERROR(
      context.tables.PutFiles(HolderKind::kCheckpoint, CheckpointHolder(row.number, *step), {}));
  RETURN_IF_ERROR(context.tables.DeleteCheckpoint(row.number, *step));
  v1::JobEvent event;
  event.mutable_warning()->set_code(kReasonCheckpointCorrupt);
  event.mutable_warning()->set_text(
      absl::StrCat("the checkpoint of step ", *step, " was dropped: ", error.message()));
  RETURN_IF_ERROR(AddEvent(context, row, std::move(event)));
  return true;
}

absl::Status GoOnFromEarlier(VerbContext& context, JobRow& row, const google::rpc::Status& error) {
  ASSIGN_OR_RETURN(const std::string how, HowItGoesOn(context, row));
  return SetState(context, row, v1::JOB_STATE_QUEUED, {absl::StrCat(error.message(), "; ", how)});
}

}  // namespace graft
