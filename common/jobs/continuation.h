#pragma once

// A training that goes on from another job's checkpoint (FineTuneSpec.init_from).

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/errors/field_checks.h"
#include "graft/v1/spec.pb.h"

namespace graft {

struct CheckpointRef {
  std::string job;  // Its id.
  int64_t step = 0;
};
// "jobs/{id}/checkpoints/{step}".
std::string CheckpointName(absl::string_view job_name, int64_t step);
// INVALID_ARGUMENT (violation of `field`).
absl::StatusOr<CheckpointRef> ParseCheckpointName(absl::string_view name, absl::string_view field);

// What init_from names. An adapter's name has no slash.
bool ContinuesJob(const v1::FineTuneSpec& spec);
std::string InitialAdapter(const v1::FineTuneSpec& spec);                      // Empty: none.
std::optional<CheckpointRef> InitialCheckpoint(const v1::FineTuneSpec& spec);  // Of a valid spec.

// What of a resolved spec a job that goes on may not change: all but the number of epochs or steps,
// when it evaluates and saves, the patience of early stopping, and the name of what it publishes.
// How it evaluates may change only where the best evaluation is told by the loss: it is that of the
// same rows whatever else is scored.
v1::FineTuneSpec FixedPart(const v1::FineTuneSpec& resolved);

// A violation for each field in which the resolved `spec` differs from that of the job that it goes
// on from, though it may not. `job`: that one's name, for the text.
void CheckContinuation(const v1::FineTuneSpec& from, absl::string_view job,
                       const v1::FineTuneSpec& spec, const FieldScope& scope);

}  // namespace graft
