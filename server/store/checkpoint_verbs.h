#pragma once

// Checkpoints that go before their job does, as functions of one transaction: those that turned out
// to be corrupt, and those that a job which is done has kept for long.

#include "server/store/verb_context.h"

namespace graft {

// Drops the checkpoint that `error` calls corrupt (CheckpointCorrupt, status_details.h), with the
// warning event CHECKPOINT_CORRUPT, so that the job goes on from the one before, and needs a worker
// for that one. False, and nothing
// is done, when the error is another or the job has no such checkpoint (any more). The row is not
// saved.
absl::StatusOr<bool> DropCorruptCheckpoint(VerbContext& context, JobRow& row,
                                           const google::rpc::Status& error);
// A RUNNING job is QUEUED at once, to go on from the newest checkpoint that is left; FAILED after
// too many of them without progress, since a disk may spoil each new one. The row is not saved.
absl::Status GoOnFromEarlier(VerbContext& context, JobRow& row, const google::rpc::Status& error);

// At most `limit` of those kept for longer than checkpoint_lifetime. Returns how many.
absl::StatusOr<int64_t> DoPruneCheckpoints(VerbContext& context, int limit);

absl::StatusOr<std::vector<v1::JobCheckpoint>> DoListCheckpoints(VerbContext& context,
                                                                 absl::string_view name);

}  // namespace graft
