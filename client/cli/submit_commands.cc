// graft submit, graft eval: jobs from flags.

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/method.h"

namespace graft {
namespace {

struct SubmitOptions {
  JobFlagValues flags;
  std::string request_id;
  bool validate_only = false;
  bool watch = false;
};

// The same for the same request id, since a request that is repeated must be the same.
std::string StudyNameFor(const std::string& request_id) {
  return absl::StrCat("study-", Sha256Hex(request_id).substr(0, 8));
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

v1::CreateJobRequest ValidationOf(const v1::Job& job) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job;
  request.set_validate_only(true);
  return request;
}

// Of the jobs of a study, each has its own: ID-1, ID-2, ….
v1::CreateJobRequest CreationOf(const std::vector<v1::Job>& jobs, size_t index,
                                const std::string& request_id) {
  v1::CreateJobRequest request;
  *request.mutable_job() = jobs[index];
  request.set_request_id(jobs.size() == 1 ? request_id : absl::StrCat(request_id, "-", index + 1));
  return request;
}

// All or none: what would be refused is refused before anything is uploaded, or at least before
// the first job of a study is there.
absl::Status Prepare(CliContext& context, const SubmitOptions& options,
                     const std::string& request_id, std::vector<v1::Job>& jobs) {
  for (size_t i = 0; i < jobs.size(); ++i) {
    v1::CreateJobRequest request = CreationOf(jobs, i, request_id);
    v1::DataSpec& data = DataOf(*request.mutable_job());
    // May name files, which have no name as data sets yet.
    if (!data.train().empty()) data.set_train("train");
    if (!data.validation().empty()) data.set_validation("validation");
    RETURN_IF_ERROR(ValidateCreateJob(request));
  }
  for (v1::Job& job : jobs) RETURN_IF_ERROR(UploadFiles(context, job));
  if (jobs.size() == 1 || options.validate_only) return absl::OkStatus();
  for (const v1::Job& job : jobs) {
    RETURN_IF_ERROR(context.client->CreateJob(ValidationOf(job)).status());
  }
  return absl::OkStatus();
}

// How to go on after a submission that ended with `status` after `done` of its jobs.
void PrintRepetition(const absl::Status& status, size_t done, size_t all,
                     const std::string& request_id) {
  if (!IsUnreachable(status) && done == 0) return;
  const std::string there = done == 0 ? "" : absl::StrCat(done, " of ", all, " jobs are there; ");
  std::fprintf(stderr,
               "graft: %sto repeat this command without making a job twice, give it "
               "--request-id %s\n",
               there.c_str(), request_id.c_str());
}

void PrintJob(const CliContext& context, const v1::Job& job, bool validate_only) {
  if (context.json) {
    std::puts(ToJson(job).c_str());
  } else if (validate_only) {
    std::printf("valid; as it would run:\n%s\n", ToJson(job.resolved_spec(), true).c_str());
  } else {
    std::printf("%s  %s%s%s\n", job.name().c_str(), MethodName(job.resolved_spec()).c_str(),
                job.display_name().empty() ? "" : "  ", job.display_name().c_str());
  }
}

absl::Status Create(CliContext& context, const SubmitOptions& options,
                    const std::string& request_id, std::vector<v1::Job>& jobs) {
  RETURN_IF_ERROR(Prepare(context, options, request_id, jobs));
  for (size_t i = 0; i < jobs.size(); ++i) {
    absl::StatusOr<v1::Job> job = context.client->CreateJob(
        options.validate_only ? ValidationOf(jobs[i]) : CreationOf(jobs, i, request_id));
    if (!job.ok()) {
      if (!options.validate_only) PrintRepetition(job.status(), i, jobs.size(), request_id);
      return job.status();
    }
    jobs[i] = *std::move(job);
    PrintJob(context, jobs[i], options.validate_only);
  }
  if (jobs.size() > 1 && !context.json && !options.validate_only) {
    std::printf("study %s: graft compare --study %s\n", jobs[0].study().c_str(),
                jobs[0].study().c_str());
  }
  return absl::OkStatus();
}

absl::Status Run(CliContext& context, const SubmitOptions& options,
                 const std::vector<JobFlag>& flags, bool evaluate) {
  const std::string request_id = options.request_id.empty() ? NewRequestId() : options.request_id;
  ASSIGN_OR_RETURN(std::vector<v1::Job> jobs,
                   JobsFromFlags(flags, options.flags, StudyNameFor(request_id)));
  for (v1::Job& job : jobs) {
    if (evaluate) job.mutable_spec()->mutable_evaluate();
  }
  RETURN_IF_ERROR(Create(context, options, request_id, jobs));
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
  command
      .add_option("--request-id", options.request_id,
                  "Makes the same command safe to repeat after a lost answer: with the same id and "
                  "the same flags it is answered with the job that it made, for 24 hours; the jobs "
                  "of a list have ID-1, ID-2, … [a new one]")
      ->type_name("ID");
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
