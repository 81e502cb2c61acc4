#pragma once

// How often a job's attempts have failed for reasons that are not the job's own, and when that is
// too often. A job that fails again and again at one place by one cause is at fault itself,
// whatever the failure's class says; one that is killed here and there is not, as long as it comes
// further.

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/store/tables.h"

namespace graft {

struct AttemptFailure {
  google::rpc::Status error;
  std::string cause;   // Empty: the error's code.
  absl::Duration ran;  // Of the attempt, from its claim to its end.
};

// Adds a failure at the place where the job is. It is like the one before if place and cause are
// the same, and the time that the attempt ran is about the same: a job that kills its engine does
// so at the same moment, one that others kill within a long step does not.
void CountFailure(JobRow& row, const AttemptFailure& failure);
// The job came further than ever: what failed before counts no more.
void ForgetFailures(JobRow& row);
bool FailedTooOften(const StoreOptions& options, const JobRow& row);
// How long a job that failed waits before it is tried again.
absl::Duration RetryDelay(const StoreOptions& options, const JobRow& row);
// Both counts, as a clause: "failure 2 of 5 at TRAINING, step 7, by signal 9; 3 of 20 without …".
std::string CountsText(const StoreOptions& options, const JobRow& row);

}  // namespace graft
