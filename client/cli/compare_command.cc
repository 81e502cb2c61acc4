// graft compare.

#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/cli/command.h"
#include "client/cli/compare.h"
#include "client/cli/listing.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "client/cli/usage.h"
#include "common/base/byte_text.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

struct CompareOptions {
  std::vector<std::string> jobs;
  std::string study;
  std::string metric;
  std::string output;
};

void PrintComparison(const v1::CompareJobsResponse& comparison, bool markdown) {
  const auto print = [&](const Table& table) {
    std::fputs(
        markdown ? table.ToMarkdown().c_str() : table.ToString(LineRoom(STDOUT_FILENO)).c_str(),
        stdout);
  };
  print(ComparisonTable(comparison));
  if (comparison.seed_groups_size() > 0) {
    std::puts("");
    print(SeedTable(comparison));
  }
  std::string text = DifferencesText(comparison);
  if (text.empty()) return;
  if (markdown) {  // A list.
    text = absl::StrCat(
        "- ", absl::StrReplaceAll(text.substr(0, text.size() - 1), {{"\n", "\n- "}}), "\n");
  }
  std::printf("\n%s", Printable(text).c_str());
}

absl::Status RunCompare(CliContext& context, const CompareOptions& options) {
  if (options.jobs.empty() && options.study.empty()) {
    return absl::InvalidArgumentError("compare needs jobs, or --study");
  }
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  v1::CompareJobsRequest request;
  request.mutable_names()->Assign(options.jobs.begin(), options.jobs.end());
  request.set_study(options.study);
  request.set_metric(options.metric);
  ASSIGN_OR_RETURN(const v1::CompareJobsResponse comparison, context.client->CompareJobs(request));
  for (const v1::LeftOutJob& job : comparison.left_out()) {
    std::fprintf(stderr, "graft: %s is left out: %s\n", job.job().c_str(), job.why().c_str());
  }
  if (format == OutputFormat::kJson) {
    std::fputs(ComparisonJson(comparison).c_str(), stdout);
  } else if (format == OutputFormat::kCsv) {
    std::fputs(ComparisonCsv(comparison).c_str(), stdout);
  } else {
    PrintComparison(comparison, format == OutputFormat::kMarkdown);
  }
  return absl::OkStatus();
}

}  // namespace

void AddCompareCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command =
      AddCommand(app, run, "compare",
                 "Put jobs side by side; evaluations also get the paired difference to the first, "
                 "and jobs that differ in their seed alone their mean",
                 "graft compare jobs/k3f9 jobs/p2m7", options, RunCompare);
  command->add_option("jobs", options->jobs, "Evaluations, or fine-tune jobs");
  command->add_option("--study", options->study, "All jobs of a study");
  command->add_option("--metric", options->metric, "Of the differences; default: rougeLsum")
      ->transform(OneOf({"rouge1", "rouge2", "rougeL", "rougeLsum"}));
  AddOutputFlag(*command, options->output);
}

}  // namespace graft
