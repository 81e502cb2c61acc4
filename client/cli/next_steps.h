#pragma once

// What somebody who has watched a job to its end does next.

#include <string>

#include "graft/v1/job.pb.h"

namespace graft {

// Lines with the commands that go on from the job: for what it left, or, after a failure, with what
// may help against failures of that class. `graft` begins each command ("graft", or with --server).
// Empty for a job that was cancelled.
std::string NextSteps(const v1::Job& job, const std::string& graft);

}  // namespace graft
