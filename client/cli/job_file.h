#pragma once

// Jobs from files, as people and programs write them.

#include <string>

#include "absl/status/statusor.h"
#include "graft/v1/job.pb.h"

namespace graft {

struct JobFile {
  // display_name, labels, priority, study, deadline, allow_migration
  // and spec; nothing that only a server sets.
  v1::Job job;
  // Where the spec stood in the file: "spec", "resolved_spec", or "" for a file that is one.
  std::string spec_path;
};

// Reads a job as JSON, or as YAML ("job.yaml", "job.yml"), in any of these shapes:
//   a graft.v1.Job, also as `graft show --json` prints it: `spec` counts before `resolved_spec`
//   a graft.v1.JobSpec ({"fine_tune": ...}), as `graft submit --validate-only` prints it and as
//   `graft-engine run --spec` takes it
// What only a server sets is passed over. Enum values may be written in full or as the flags take
// them ("fp32"). NOT_FOUND; INVALID_ARGUMENT names the file and the field or line, and what was
// probably meant.
absl::StatusOr<JobFile> ReadJobFile(const std::string& path);

// Takes away what resolution writes into a spec, and nobody else: the hashes of what it names.
void ClearResolution(v1::JobSpec& spec);

}  // namespace graft
