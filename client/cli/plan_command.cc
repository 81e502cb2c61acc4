// graft plan submit, graft plan eval: what these commands would do.

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/command.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "client/cli/plan_text.h"
#include "client/cli/submission.h"
#include "client/cli/terminal.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {
namespace {

struct PlanOptions {
  JobFlagValues flags;
  double detectable_difference = 0.01;
  bool without_worker = false;
};

// The request has the spec where that of CreateJob has a job.
absl::Status AsOfAJob(const absl::Status& status) {
  Violations violations;
  for (const auto& violation : FieldViolationsOf(status)) {
    violations.Add("job." + violation.field(), violation.description(), violation.reason());
  }
  return violations.empty() ? status : violations.Explain(status);
}

absl::Status RunPlan(CliContext& context, const PlanOptions& options,
                     const std::vector<JobFlag>& flags, bool evaluate) {
  Submission submission{options.flags, flags, "spec", NewRequestId(), {}};
  RETURN_IF_ERROR(ReadJobs(evaluate, submission));
  DataFiles files;
  RETURN_IF_ERROR(Prepare(context, submission, files));
  const auto name = [&](const std::string& field) { return NameOfSpecField(submission, field); };
  for (const v1::Job& job : submission.jobs) {
    v1::PlanJobRequest request = PlanOf(job);
    request.set_detectable_difference(options.detectable_difference);
    request.set_without_worker(options.without_worker);
    const absl::StatusOr<v1::JobPlan> plan = context.client->PlanJob(request);
    if (!plan.ok()) return InTheirWords(submission, AsOfAJob(plan.status()), job);
    if (context.json) {
      std::puts(ToJson(*plan).c_str());
      continue;
    }
    if (submission.jobs.size() > 1) std::printf("%s\n", Printable(job.display_name()).c_str());
    std::fputs(Printable(PlanText(*plan, name)).c_str(), stdout);
  }
  return absl::OkStatus();
}

absl::Status PlanSubmit(CliContext& context, const PlanOptions& options) {
  return RunPlan(context, options, FineTuneFlags(), false);
}

absl::Status PlanEval(CliContext& context, const PlanOptions& options) {
  return RunPlan(context, options, EvaluateFlags(), true);
}

void AddPlanOptions(CLI::App& command, const std::vector<JobFlag>& flags, PlanOptions& options) {
  AddJobFlags(command, flags, options.flags);
  command
      .add_option("--detectable-difference", options.detectable_difference,
                  "Warn when the validation is too small to show such a difference of ROUGE-Lsum "
                  "(0 to 1)")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str();
  command.add_flag("--without-worker", options.without_worker,
                   "Do not let an idle worker measure memory and time, which takes up to 20 s");
}

}  // namespace

void AddPlanCommands(CLI::App& app, RunCommand& run) {
  CLI::App* plan = app.add_subcommand(
      "plan",
      "Tell what a job would do: tokens, cuts, steps, memory, time; nothing is made but the data "
      "set of a file");
  plan->require_subcommand(1);
  plan->fallthrough();
  auto submit = std::make_shared<PlanOptions>();
  AddPlanOptions(*AddCommand(*plan, run, "submit", "What graft submit with the same flags would do",
                             "graft plan submit --base-model gpt2 --method lora --rank 8 \\\n"
                             "    --train articles.jsonl --validation-fraction 0.1 --epochs 3",
                             submit, PlanSubmit),
                 FineTuneFlags(), *submit);
  auto eval = std::make_shared<PlanOptions>();
  AddPlanOptions(*AddCommand(*plan, run, "eval", "What graft eval with the same flags would do",
                             "graft plan eval --base-model gpt2 --adapter news-lora --data "
                             "test.jsonl",
                             eval, PlanEval),
                 EvaluateFlags(), *eval);
}

}  // namespace graft
