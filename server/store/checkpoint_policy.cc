#include "server/store/checkpoint_policy.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr char kLoss[] = "eval/loss";

// Steps whose evaluations were the best ones, by the metric that decides over early stopping.
absl::StatusOr<absl::flat_hash_set<int64_t>> BestSteps(
    VerbContext& context, int64_t job, const std::vector<CheckpointRow>& checkpoints,
    const v1::EarlyStopping& stopping, int32_t keep) {
  const std::string metric = stopping.metric().empty() ? kLoss : stopping.metric();
  std::vector<std::pair<double, int64_t>> ranked;  // The smaller the better; the earlier, too.
  for (const CheckpointRow& checkpoint : checkpoints) {
    ASSIGN_OR_RETURN(const auto evaluation,
                     context.tables.FindLogged(job, LoggedKind::kEvaluation, checkpoint.step));
    if (!evaluation) continue;
    const auto value = evaluation->values().find(metric);
    if (value == evaluation->values().end() || !std::isfinite(value->second)) continue;
    ranked.push_back({metric == kLoss ? value->second : -value->second, checkpoint.step});
  }
  absl::c_sort(ranked);
  ranked.resize(std::min(ranked.size(), static_cast<size_t>(std::max(0, keep))));
  absl::flat_hash_set<int64_t> steps;
  for (const auto& [value, step] : ranked) steps.insert(step);
  return steps;
}

}  // namespace

absl::Status DropCheckpoint(VerbContext& context, int64_t job, int64_t step) {
  RETURN_IF_ERROR(
      context.tables.PutFiles(HolderKind::kCheckpoint, CheckpointHolder(job, step), {}));
  return context.tables.DeleteCheckpoint(job, step);
}

absl::Status DropAllCheckpoints(VerbContext& context, int64_t job) {
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(job));
  for (const CheckpointRow& each : checkpoints) {
    RETURN_IF_ERROR(DropCheckpoint(context, job, each.step));
  }
  return absl::OkStatus();
}

absl::Status DropOldCheckpoints(VerbContext& context, int64_t job, const v1::JobSpec& resolved) {
  const v1::TrainingSpec& training = resolved.fine_tune().training();
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(job));
  const size_t keep_last = static_cast<size_t>(std::max(1, training.checkpoint().keep_last()));
  if (checkpoints.size() <= keep_last) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto best, BestSteps(context, job, checkpoints, training.early_stopping(),
                                              training.checkpoint().keep_best()));
  for (size_t i = keep_last; i < checkpoints.size(); ++i) {
    const CheckpointRow& old = checkpoints[i];
    if (old.pinned || best.contains(old.step)) continue;
    RETURN_IF_ERROR(DropCheckpoint(context, job, old.step));
  }
  return absl::OkStatus();
}

absl::Status KeepCheckpointsOfDone(VerbContext& context, const JobRow& row) {
  const bool succeeded = row.job.state() == v1::JOB_STATE_SUCCEEDED;
  if (succeeded && !row.output) return DropAllCheckpoints(context, row.number);
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(row.number));
  absl::flat_hash_set<int64_t> best;
  if (!succeeded && !checkpoints.empty()) {
    ASSIGN_OR_RETURN(const v1::Job specs, context.tables.ReadSpecs(row.number));
    const v1::TrainingSpec& training = specs.resolved_spec().fine_tune().training();
    ASSIGN_OR_RETURN(best, BestSteps(context, row.number, checkpoints, training.early_stopping(),
                                     std::min(1, training.checkpoint().keep_best())));
  }
  for (size_t i = 0; i < checkpoints.size(); ++i) {
    CheckpointRow kept = checkpoints[i];
    if (kept.pinned) continue;
    if (i > 0 && !best.contains(kept.step)) {
      RETURN_IF_ERROR(DropCheckpoint(context, row.number, kept.step));
      continue;
    }
    kept.kept_since = context.running_time;
    RETURN_IF_ERROR(context.tables.PutCheckpoint(row.number, kept));
  }
  return absl::OkStatus();
}

}  // namespace graft
