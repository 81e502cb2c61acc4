#pragma once

// A job's checkpoints, as functions of one transaction: what people do with them, and what goes
// before its job does, since it turned out to be corrupt or was kept for long.

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
absl::StatusOr<CheckpointFiles> DoReadCheckpoint(VerbContext& context, absl::string_view name);
absl::StatusOr<v1::JobCheckpoint> DoPinCheckpoint(VerbContext& context, absl::string_view name,
                                                  bool pinned);
// What a worker must be able to do to go on with the job: what its newest checkpoint needs, or only
// what its spec says, where there is none or the job may migrate.
absl::StatusOr<JobNeeds> NeedsNow(VerbContext& context, const JobRow& row);

}  // namespace graft
