#pragma once

// JobStore's verbs that delete jobs, as functions of one transaction. Contracts: job_store.h.

#include <cstdint>
#include <limits>
#include <vector>

#include "server/store/verb_context.h"

namespace graft {

absl::StatusOr<DeletedJob> DoDeleteJob(VerbContext& context, absl::string_view name,
                                       bool delete_adapter, const RequestKey& request);

// At most `limit` of those kept for longer than job_lifetime. Returns them.
absl::StatusOr<std::vector<DeletedJob>> DoPruneJobs(VerbContext& context, int limit);

// Jobs that the answer to a purge names, of each kind.
inline constexpr int kMaxPurgedNames = 100;

// How far a purge has come.
struct PurgeState {
  v1::PurgeJobsResponse answer;
  // The jobs that it has yet to look at have smaller numbers.
  int64_t before = std::numeric_limits<int64_t>::max();
  bool over = false;
  std::vector<DeletedJob> deleted;  // By the last step.
};
// Where it begins: after what an earlier call of the request has done, or at its end.
absl::StatusOr<PurgeState> DoBeginPurge(VerbContext& context, const JobPurge& purge);
// Numbers of the next jobs that are done and that the filter finds, newest first.
absl::StatusOr<std::vector<int64_t>> DoFindPurgeable(VerbContext& context, const JobPurge& purge,
                                                     int64_t before, int limit);
// Deletes them (or, without force, says what would be). `last`: then it is over.
absl::StatusOr<PurgeState> DoPurgeSome(VerbContext& context, const JobPurge& purge,
                                       const std::vector<int64_t>& numbers, bool last,
                                       PurgeState state);

}  // namespace graft
