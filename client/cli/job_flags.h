#pragma once

// The flags that describe a job. Each stands for one field of graft.v1.Job; a flag that is given
// several values makes one job for each, and several such flags one for each combination.

#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graft/v1/job.pb.h"

namespace graft {

// A flag and the field it sets.
struct JobFlag {
  const char* name;  // "--rank".
  const char* path;  // "spec.fine_tune.method.lora.rank"; null for --method, which makes its parts.
  const char* help;
  const char* group;  // Heading in the help text.
  bool list = false;  // The field itself takes a list: commas separate its elements, not jobs.
  const char* several = nullptr;  // The field that takes the list, where `path` takes one value.
};
const std::vector<JobFlag>& FineTuneFlags();
const std::vector<JobFlag>& EvaluateFlags();

// What was given for each flag, by its name. Filled in by CLI11; must live as long as the command.
struct JobFlagValues {
  std::map<std::string, std::string> values;
  std::vector<std::string> labels;  // "key=value".
  std::string file;
};
void AddJobFlags(CLI::App& command, const std::vector<JobFlag>& flags, JobFlagValues& values);

// What a flag was given, each value by itself: a template or a name may hold commas, numbers and
// words do not. "" has none.
std::vector<std::string> ValuesOf(const JobFlag& flag, const std::string& text);

// The jobs that the flags over `base` (of --file, or nothing) describe. A flag also replaces what
// in `base` would keep it from counting: --epochs a max_steps, --learning-rate the rates of the
// method's parts. With more than one job, each is labelled with its own values, named after them,
// and belongs to a study (made up from `study_name` unless given). INVALID_ARGUMENT names the flag.
absl::StatusOr<std::vector<v1::Job>> JobsFromFlags(const std::vector<JobFlag>& flags,
                                                   const JobFlagValues& values, const v1::Job& base,
                                                   const std::string& study_name);

// What a field of the request ("job.spec.fine_tune.method.lora.rank") is called by whoever wrote
// the command: "--rank", or, where it is the file that says it, its path there, of which
// `spec_path` is that of the spec.
std::string NameOfField(const std::vector<JobFlag>& flags, const JobFlagValues& values,
                        absl::string_view spec_path, absl::string_view field);

}  // namespace graft
