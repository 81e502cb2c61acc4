#pragma once

// Jobs that are about to be submitted: their data files become data sets of the server, and
// whatever is wrong is said before anything is made.

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/cli/command.h"
#include "client/cli/data_files.h"
#include "client/cli/job_flags.h"
#include "graft/v1/job.pb.h"

namespace graft {

// What was given, and the jobs that it describes.
struct Submission {
  const JobFlagValues& values;
  const std::vector<JobFlag>& flags;
  std::string spec_path;  // Of the file.
  std::string request_id;
  std::vector<v1::Job> jobs;

  std::string NameOf(absl::string_view field) const {
    return NameOfField(flags, values, spec_path, field);
  }
};

// Files of this machine, and the data set that each becomes.
using DataFiles = std::map<std::string, FileDataset>;

// Fills in the jobs that the flags, over their --file, describe: evaluate jobs with `evaluate`,
// else fine-tune jobs. INVALID_ARGUMENT also when the file is of the other kind.
absl::Status ReadJobs(bool evaluate, Submission& submission);

// All or none: what would be refused is refused before anything is uploaded, and before the first
// job is there. The jobs then name data sets. Adds the files among their data to `files`.
absl::Status Prepare(CliContext& context, Submission& submission, DataFiles& files);

// A status with fields called as whoever wrote the command calls them. What the server does not
// know may be a folder here that was never added.
absl::Status InTheirWords(const Submission& submission, const absl::Status& status,
                          const v1::Job& job);

// The request that makes one of the jobs, and the one that only asks about it.
v1::CreateJobRequest CreationOf(const Submission& submission, size_t index);
v1::CreateJobRequest ValidationOf(const Submission& submission, size_t index);

// The request that asks what it would do, and how a field that it names is called by whoever wrote
// the command.
v1::PlanJobRequest PlanOf(const v1::Job& job);
std::string NameOfSpecField(const Submission& submission, const std::string& field);

// How to go on after a submission that ended with `status`, if nobody knows what it came to.
void PrintRepetition(const absl::Status& status, const std::string& request_id);

// The same for the same request id, since a request that is repeated must be the same.
std::string StudyNameFor(const std::string& request_id);

}  // namespace graft
