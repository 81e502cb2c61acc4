#include "worker/engine/run_hooks.h"

#include "absl/strings/cord.h"

namespace graft {
namespace {

constexpr char kPausedPayload[] = "graft/paused";

}  // namespace

absl::Status PausedStatus() {
  absl::Status status = absl::CancelledError("the job was paused");
  status.SetPayload(kPausedPayload, absl::Cord());
  return status;
}

bool IsPaused(const absl::Status& status) { return status.GetPayload(kPausedPayload).has_value(); }

}  // namespace graft
