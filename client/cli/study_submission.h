#pragma once

// Studies from flags, sent to the server.

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "client/cli/job_flags.h"
#include "graft/v1/study.pb.h"

namespace graft {

struct StudySubmission {
  JobFlagValues job;
  bool evaluate = false;  // Its trials are evaluate jobs.
  std::vector<std::string> ranges;
  std::vector<std::string> log_ranges;
  int random_points = 0;
  int64_t halving_steps = 0;
  int reduction_factor = 0;
  int brackets = 0;
  int64_t median_steps = 0;
  std::string objective;
  std::string goal;
  int repeats = 0;
  std::string search_seed;
  int max_parallel_trials = 0;
  int64_t max_study_steps = 0;
  std::string time_limit;
  std::string request_id;
  bool validate_only = false;
};

// All of them; those of a job are FineTuneFlags.
void AddStudyFlags(CLI::App& command, StudySubmission& submission);

// Uploads the data files that are named, then makes the study (or, with validate_only, what it
// would be). `flags`: those of its jobs. Errors name flags.
absl::StatusOr<v1::Study> SubmitStudy(CliContext& context, const StudySubmission& submission,
                                      const std::vector<JobFlag>& flags);

}  // namespace graft
