#pragma once

// Which of a job's checkpoints stay.

#include <cstdint>

#include "absl/status/status.h"
#include "graft/v1/spec.pb.h"
#include "server/store/verb_context.h"

namespace graft {

absl::Status DropCheckpoint(VerbContext& context, int64_t job, int64_t step);
absl::Status DropAllCheckpoints(VerbContext& context, int64_t job);

// While the job runs: those that are pinned, the newest keep_last (at least one), and of the others
// the keep_best whose evaluations were the best by the metric of early stopping.
absl::Status DropOldCheckpoints(VerbContext& context, int64_t job, const v1::JobSpec& resolved);

// Of a job that is done: those that are pinned and, for as long as StoreOptions says, the newest
// one, to go on from; the best one, too, where no output holds its tensors. None of an evaluation
// that succeeded.
absl::Status KeepCheckpointsOfDone(VerbContext& context, const JobRow& row);

}  // namespace graft
