// graft submit, graft eval: jobs from flags.

#include <cstdio>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/method.h"

namespace graft {
namespace {

struct SubmitOptions {
  JobFlagValues flags;
  bool validate_only = false;
  bool watch = false;
};

std::string NewStudyName() {
  absl::BitGen random;
  return absl::StrCat("study-", absl::Hex(absl::Uniform<uint32_t>(random), absl::kZeroPad8));
}

v1::DataSpec& DataOf(v1::Job& job) {
  return job.spec().has_evaluate() ? *job.mutable_spec()->mutable_evaluate()->mutable_data()
                                   : *job.mutable_spec()->mutable_fine_tune()->mutable_data();
}

// Data that is a file here becomes a data set there.
absl::Status UploadFiles(CliContext& context, v1::Job& job) {
  v1::DataSpec& data = DataOf(job);
  if (!data.train().empty()) {
    ASSIGN_OR_RETURN(*data.mutable_train(), DatasetNameFor(context, data.train(), "--train"));
  }
  if (!data.validation().empty()) {
    const char* flag = job.spec().has_evaluate() ? "--data" : "--validation";
    ASSIGN_OR_RETURN(*data.mutable_validation(), DatasetNameFor(context, data.validation(), flag));
  }
  return absl::OkStatus();
}

v1::CreateJobRequest RequestFor(const v1::Job& job, bool validate_only) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job;
  request.set_validate_only(validate_only);
  return request;
}

// All or none: what would be refused is refused before anything is uploaded, or at least before
// the first job of a study is there.
absl::Status Prepare(CliContext& context, const SubmitOptions& options,
                     std::vector<v1::Job>& jobs) {
  for (v1::Job job : jobs) {
    v1::DataSpec& data = DataOf(job);  // May name files, which have no name as data sets yet.
    if (!data.train().empty()) data.set_train("train");
    if (!data.validation().empty()) data.set_validation("validation");
    RETURN_IF_ERROR(ValidateCreateJob(RequestFor(job, true)));
  }
  for (v1::Job& job : jobs) RETURN_IF_ERROR(UploadFiles(context, job));
  if (jobs.size() == 1 || options.validate_only) return absl::OkStatus();
  for (const v1::Job& job : jobs) {
    RETURN_IF_ERROR(context.client->CreateJob(RequestFor(job, true)).status());
  }
  return absl::OkStatus();
}

absl::Status Create(CliContext& context, const SubmitOptions& options, std::vector<v1::Job>& jobs) {
  RETURN_IF_ERROR(Prepare(context, options, jobs));
  for (v1::Job& job : jobs) {
    v1::CreateJobRequest request = RequestFor(job, options.validate_only);
    ASSIGN_OR_RETURN(job, context.client->CreateJob(request));
    if (context.json) {
      std::puts(ToJson(job).c_str());
    } else if (options.validate_only) {
      std::printf("valid; as it would run:\n%s\n", ToJson(job.resolved_spec(), true).c_str());
    } else {
      std::printf("%s  %s%s%s\n", job.name().c_str(), MethodName(job.resolved_spec()).c_str(),
                  job.display_name().empty() ? "" : "  ", job.display_name().c_str());
    }
  }
  if (jobs.size() > 1 && !context.json && !options.validate_only) {
    std::printf("study %s: graft compare --study %s\n", jobs[0].study().c_str(),
                jobs[0].study().c_str());
  }
  return absl::OkStatus();
}

absl::Status Run(CliContext& context, const SubmitOptions& options,
                 const std::vector<JobFlag>& flags, bool evaluate) {
  ASSIGN_OR_RETURN(std::vector<v1::Job> jobs, JobsFromFlags(flags, options.flags, NewStudyName()));
  for (v1::Job& job : jobs) {
    if (evaluate) job.mutable_spec()->mutable_evaluate();
  }
  RETURN_IF_ERROR(Create(context, options, jobs));
  if (!options.watch || options.validate_only) return absl::OkStatus();
  absl::Status worst = absl::OkStatus();
  for (const v1::Job& job : jobs) {
    const absl::Status status = FollowJob(context, job.name(), 0);
    if (absl::IsCancelled(status)) return status;
    if (!status.ok()) worst = status;
  }
  return worst;
}

absl::Status RunSubmit(CliContext& context, const SubmitOptions& options) {
  return Run(context, options, FineTuneFlags(), false);
}

absl::Status RunEval(CliContext& context, const SubmitOptions& options) {
  return Run(context, options, EvaluateFlags(), true);
}

void AddSubmitOptions(CLI::App& command, const std::vector<JobFlag>& flags,
                      SubmitOptions& options) {
  AddJobFlags(command, flags, options.flags);
  command.add_flag("--watch", options.watch, "Follow the job to its end");
  command.add_flag(
      "--validate-only", options.validate_only,
      "Check and print it with all defaults, but do not run it (a file of data is uploaded)");
}

}  // namespace

void AddSubmitCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command =
      AddCommand(app, run, "submit",
                 "Submit a fine-tune job; a list (--rank 2,4,8) makes a job for each value",
                 "graft submit --base-model gpt2 --method lora --rank 8 --train articles.jsonl \\\n"
                 "    --validation-fraction 0.1 --epochs 3 --watch",
                 options, RunSubmit);
  AddSubmitOptions(*command, FineTuneFlags(), *options);
}

void AddEvalCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command = AddCommand(
      app, run, "eval", "Evaluate a base model, with or without an adapter: loss and ROUGE",
      "graft eval --base-model gpt2 --adapter news-lora --data test.jsonl --watch", options,
      RunEval);
  AddSubmitOptions(*command, EvaluateFlags(), *options);
}

}  // namespace graft
