// graft submit, graft eval: jobs from flags.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "client/cli/plan_text.h"
#include "client/cli/study_submission.h"
#include "client/cli/submission.h"
#include "client/cli/terminal.h"
#include "common/base/status_macros.h"
#include "common/jobs/method.h"

namespace graft {
namespace {

struct SubmitOptions {
  JobFlagValues flags;
  std::string request_id;
  bool validate_only = false;
  bool watch = false;
};

// What --validate-only prints on standard output is a job file.
void PrintJob(const CliContext& context, const v1::Job& job, bool validate_only) {
  if (context.json) {
    std::puts(ToJson(job).c_str());
  } else if (validate_only) {
    std::fputs("graft: valid; as it would run:\n", stderr);
    std::puts(ToJson(job.resolved_spec(), true).c_str());
  } else {
    const std::string line =
        absl::StrCat(job.name(), "  ", MethodName(job.resolved_spec()),
                     job.display_name().empty() ? "" : "  ", job.display_name());
    std::puts(Printable(line).c_str());
  }
}

void PrintWarnings(const v1::Job& job) {
  for (const v1::Warning& warning : job.warnings()) {
    std::fprintf(stderr, "graft: warning: %s\n", Printable(warning.text()).c_str());
  }
}

// For a command that people may copy.
std::string Quoted(const std::string& name) {
  return absl::StrContains(name, ' ') ? absl::StrCat("'", name, "'") : name;
}

absl::Status ValidateAll(CliContext& context, const Submission& submission) {
  for (size_t i = 0; i < submission.jobs.size(); ++i) {
    const absl::StatusOr<v1::Job> job = context.client->CreateJob(ValidationOf(submission, i));
    if (!job.ok()) return InTheirWords(submission, job.status(), submission.jobs[i]);
    PrintJob(context, *job, true);
    PrintWarnings(*job);
  }
  return absl::OkStatus();
}

// What the server knows of the job that it was given, for whoever sits before a terminal. A plan
// that cannot be had is nothing to him who has his job.
void PrintPlan(CliContext& context, const Submission& submission, const v1::Job& job) {
  if (context.json || isatty(STDERR_FILENO) == 0) return;
  v1::PlanJobRequest request = PlanOf(submission.jobs[0]);
  // Taken by now, by the job itself.
  if (request.spec().has_fine_tune())
    request.mutable_spec()->mutable_fine_tune()->clear_output_name();
  request.set_without_worker(true);
  absl::StatusOr<v1::JobPlan> plan = context.client->PlanJob(request);
  if (!plan.ok()) return;
  // These are told with the job.
  const auto told = [&](const v1::PlanWarning& warning) {
    return absl::c_any_of(job.warnings(),
                          [&](const v1::Warning& one) { return one.text() == warning.text(); });
  };
  auto& warnings = *plan->mutable_warnings();
  warnings.erase(std::remove_if(warnings.begin(), warnings.end(), told), warnings.end());
  const auto name = [&](const std::string& field) { return NameOfSpecField(submission, field); };
  std::fputs(Printable(PlanLines(*plan, name)).c_str(), stderr);
}

absl::StatusOr<v1::Job> Create(CliContext& context, const Submission& submission) {
  absl::StatusOr<v1::Job> job = context.client->CreateJob(CreationOf(submission, 0));
  if (job.ok()) return job;
  PrintRepetition(job.status(), submission.request_id);
  return InTheirWords(submission, job.status(), submission.jobs[0]);
}

// Several jobs are the trials of a grid study.
absl::Status CreateAll(CliContext& context, const SubmitOptions& options,
                       const std::vector<JobFlag>& flags, bool evaluate) {
  StudySubmission submission;
  submission.job = options.flags;
  submission.request_id = options.request_id;
  submission.evaluate = evaluate;
  ASSIGN_OR_RETURN(const v1::Study study, SubmitStudy(context, submission, flags));
  for (const v1::Trial& trial : study.trials()) {
    ASSIGN_OR_RETURN(const v1::Job job, context.client->GetJob(trial.job()));
    PrintJob(context, job, false);
    if (!options.watch) PrintWarnings(job);
  }
  const std::string command = GraftCommand(context);
  if (!context.json) {
    std::printf("study: %s study watch %s\n", command.c_str(), study.name().c_str());
  }
  if (!options.watch) return absl::OkStatus();
  const absl::Status watched = FollowStudy(context, study.name());
  if (absl::IsCancelled(watched) || context.json) return watched;
  std::printf(
      "next: %s\n",
      Printable(absl::StrCat(command, " compare --study ", Quoted(study.display_name()))).c_str());
  return watched;
}

absl::Status Run(CliContext& context, const SubmitOptions& options,
                 const std::vector<JobFlag>& flags, bool evaluate) {
  Submission submission{options.flags,
                        flags,
                        "spec",
                        options.request_id.empty() ? NewRequestId() : options.request_id,
                        {}};
  RETURN_IF_ERROR(ReadJobs(evaluate, submission));
  if (submission.jobs.size() > 1 && !options.validate_only) {
    return CreateAll(context, options, flags, evaluate);
  }
  DataFiles files;
  RETURN_IF_ERROR(Prepare(context, submission, files));
  if (options.validate_only) return ValidateAll(context, submission);
  ASSIGN_OR_RETURN(const v1::Job job, Create(context, submission));
  PrintJob(context, job, false);
  PrintPlan(context, submission, job);
  // Who watches sees them among the job's events.
  if (!options.watch) {
    PrintWarnings(job);
    return absl::OkStatus();
  }
  return FollowJob(context, job.name(), 0);
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
                  "the same flags it is answered with what it made, for 24 hours [a new one]")
      ->type_name("ID");
  command.add_flag("--watch", options.watch, "Follow the job to its end");
  command.add_flag(
      "--validate-only", options.validate_only,
      "Check and print it with all defaults, as a job file, but do not run it (a file of data is "
      "uploaded)");
}

}  // namespace

void AddSubmitCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command = AddCommand(
      app, run, "submit", "Submit a fine-tune job; a list (--rank 2,4,8) makes a study of them",
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
