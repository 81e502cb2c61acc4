#pragma once

// Named places between two steps, where a test ends the process or makes it wait: what is there
// afterwards must be whole (docs/decisions/0011-failpoints.md). Armed by the environment variable
// GRAFT_FAILPOINTS when the process starts, and else by nothing; then a place costs one relaxed
// load.
//
//   GRAFT_FAILPOINTS = ENTRY{,ENTRY}     ENTRY = [PROGRAM/]NAME=ACTION[@N]
//
// NAME as the places below give it ("store.FinishAttempt.after_commit", "file.rename.before"), or
// "*": all. ACTION: kill (SIGKILL), delay (kFailpointDelay), name (the name to standard error). At
// the N-th time only; without it at each. PROGRAM: only in that one; children inherit the variable.
//
// Thread-safe.

#include <atomic>
#include <cerrno>
#include <chrono>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace graft {

inline constexpr std::chrono::milliseconds kFailpointDelay{400};

namespace failpoint_internal {
extern std::atomic<bool> armed;
void Reach(absl::string_view group, absl::string_view step, absl::string_view moment);
}  // namespace failpoint_internal

// The place "GROUP.STEP.MOMENT".
inline void Failpoint(absl::string_view group, absl::string_view step, absl::string_view moment) {
  if (failpoint_internal::armed.load(std::memory_order_relaxed)) {
    failpoint_internal::Reach(group, step, moment);
  }
}

// "GROUP.STEP.before" and, when it ends, "GROUP.STEP.after"; errno stays.
class FailpointsAround {
 public:
  FailpointsAround(absl::string_view group, absl::string_view step) : group_(group), step_(step) {
    Failpoint(group_, step_, "before");
  }
  ~FailpointsAround() {
    const int error_number = errno;
    Failpoint(group_, step_, "after");
    errno = error_number;
  }
  FailpointsAround(const FailpointsAround&) = delete;
  FailpointsAround& operator=(const FailpointsAround&) = delete;

 private:
  const absl::string_view group_;
  const absl::string_view step_;
};

// Arms the entries instead of those armed before; "" none. INVALID_ARGUMENT.
absl::Status ArmFailpoints(absl::string_view entries);
// Those of the environment. For main functions, before there are threads.
absl::Status ArmFailpointsOfEnvironment();

}  // namespace graft
