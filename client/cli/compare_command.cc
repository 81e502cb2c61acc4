// graft compare.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/compare.h"
#include "client/cli/compare_validation.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/jobs/method.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

constexpr char kRougeType[] = "rougeLsum";

struct CompareOptions {
  std::vector<std::string> jobs;
  std::string study;
};

// Everything the comparison shows, fetched once.
struct Fetched {
  std::vector<ComparedJob> jobs;
  std::map<std::string, v1::Job> trainings;  // By job name.
  std::map<std::string, v1::Adapter> adapters;
};

// Each job once: one that is named and in the study stays where it was named.
absl::StatusOr<std::vector<v1::Job>> FindJobs(CliContext& context, const CompareOptions& options) {
  std::vector<v1::Job> jobs;
  std::set<std::string> known;
  const auto add = [&](const std::string& name) -> absl::Status {
    ASSIGN_OR_RETURN(v1::Job job, context.client->GetJob(name));
    if (known.insert(job.name()).second) jobs.push_back(std::move(job));
    return absl::OkStatus();
  };
  for (const std::string& name : options.jobs) RETURN_IF_ERROR(add(name));
  if (options.study.empty()) return jobs;
  v1::ListJobsRequest request;
  request.set_filter(absl::StrCat("study = \"", options.study, "\""));
  request.set_order_by("create_time");
  request.set_page_size(kMaxPageSize);
  bool found = false;
  do {
    ASSIGN_OR_RETURN(const v1::ListJobsResponse response, context.client->ListJobs(request));
    for (const v1::Job& listed : response.jobs()) RETURN_IF_ERROR(add(listed.name()));
    found = found || !response.jobs().empty();
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  if (found) return jobs;
  return absl::NotFoundError(absl::StrCat("no job belongs to study \"", options.study, "\""));
}

std::string LabelOf(const v1::Job& job, const v1::Job* training) {
  if (!job.display_name().empty()) return OneLine(job.display_name(), 32);
  if (!job.resolved_spec().has_evaluate()) return MethodName(job.resolved_spec());
  if (training != nullptr) return MethodName(training->resolved_spec());
  const std::string& adapter = job.resolved_spec().evaluate().adapter();
  return adapter.empty() ? "untuned" : adapter;
}

// The adapter and the training behind a job. What was deleted meanwhile is left out.
absl::Status FetchOrigin(CliContext& context, const v1::Job& job, Fetched& fetched,
                         std::string& training) {
  std::string adapter_name = job.resolved_spec().evaluate().adapter();
  if (!job.resolved_spec().has_evaluate()) {
    training = job.name();
    fetched.trainings[training] = job;
    adapter_name = job.result().adapter();
  }
  if (adapter_name.empty()) return absl::OkStatus();
  const auto adapter = context.client->GetAdapter(adapter_name);
  if (absl::IsNotFound(adapter.status())) return absl::OkStatus();
  RETURN_IF_ERROR(adapter.status());
  fetched.adapters[adapter_name] = *adapter;
  if (!training.empty() || adapter->job().empty()) return absl::OkStatus();
  const auto origin = context.client->GetJob(adapter->job());
  if (absl::IsNotFound(origin.status())) return absl::OkStatus();
  RETURN_IF_ERROR(origin.status());
  training = adapter->job();
  fetched.trainings[training] = *origin;
  return absl::OkStatus();
}

absl::StatusOr<Fetched> Fetch(CliContext& context, const CompareOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, FindJobs(context, options));
  Fetched fetched;
  for (const v1::Job& job : jobs) {
    if (job.state() != v1::JOB_STATE_SUCCEEDED) {
      std::fprintf(stderr, "graft: %s is left out: it has not succeeded\n", job.name().c_str());
      continue;
    }
    std::string training;
    RETURN_IF_ERROR(FetchOrigin(context, job, fetched, training));
    ComparedJob compared;
    compared.job = job;
    compared.training = training.empty() ? nullptr : &fetched.trainings.at(training);
    compared.label = LabelOf(job, compared.training);
    fetched.jobs.push_back(std::move(compared));
  }
  return fetched;
}

bool HasPredictions(const v1::ListJobArtifactsResponse& artifacts) {
  return std::any_of(artifacts.artifacts().begin(), artifacts.artifacts().end(),
                     [](const v1::Artifact& file) { return file.path() == "predictions.jsonl"; });
}

// Scores of the jobs that stored predictions; the others are dropped from `jobs`.
absl::StatusOr<std::vector<std::map<int64_t, double>>> FetchScores(CliContext& context,
                                                                   std::vector<ComparedJob>& jobs) {
  std::string directory = "/tmp/graft-compare-XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return FileError(errno, "make", directory);
  const absl::Cleanup remove = [&] { RemoveTree(directory).IgnoreError(); };
  std::vector<std::map<int64_t, double>> scores;
  std::vector<ComparedJob> with_scores;
  for (const ComparedJob& compared : jobs) {
    ASSIGN_OR_RETURN(const auto artifacts, context.client->ListJobArtifacts(compared.job.name()));
    if (!HasPredictions(artifacts)) continue;
    const std::string path = JoinPath(directory, "predictions.jsonl");
    RETURN_IF_ERROR(
        context.client->DownloadJobArtifact(compared.job.name(), "predictions.jsonl", path));
    ASSIGN_OR_RETURN(scores.emplace_back(), ReadScores(path, kRougeType));
    with_scores.push_back(compared);
  }
  jobs = std::move(with_scores);
  return scores;
}

nlohmann::json DifferenceJson(const PairedDifference& difference) {
  nlohmann::json json = {{"to_job", difference.to_job}, {"metric", kRougeType}};
  if (!difference.not_comparable.empty()) {
    json["not_comparable"] = difference.not_comparable;
    return json;
  }
  json["mean"] = difference.interval.mean;
  json["low"] = difference.interval.low;
  json["high"] = difference.interval.high;
  json["rows"] = difference.rows;
  if (!difference.note.empty()) json["note"] = difference.note;
  return json;
}

nlohmann::json ValidationJson(const ValidationDifference& difference) {
  nlohmann::json json = {{"to_job", difference.to_job}};
  if (!difference.rows.empty()) {
    json["not_comparable"] = difference.rows;
    return json;
  }
  if (!difference.limits.empty()) json["limits"] = difference.limits;
  if (!difference.scoring.empty()) json["scoring"] = difference.scoring;
  return json;
}

nlohmann::json ComparedJson(const ComparedJob& compared,
                            const std::map<std::string, v1::Adapter>& adapters) {
  nlohmann::json row = {{"job", compared.job.name()},
                        {"label", compared.label},
                        {"metrics", nlohmann::json::object()}};
  for (const auto& [name, value] : compared.job.result().metrics()) row["metrics"][name] = value;
  if (compared.training == nullptr) return row;
  const v1::JobResult& result = compared.training->result();
  row["training_job"] = compared.training->name();
  row["method"] = MethodName(compared.training->resolved_spec());
  row["trainable_parameters"] = result.trainable_parameters();
  row["train_seconds"] = result.train_seconds();
  row["adapter"] = result.adapter();
  const auto adapter = adapters.find(result.adapter());
  if (adapter == adapters.end()) return row;
  row["adapter_size_bytes"] = adapter->second.size_bytes();
  row["adapter_directory"] = adapter->second.directory();
  return row;
}

void PrintJson(const Fetched& fetched, const std::vector<PairedDifference>& differences,
               const std::vector<ValidationDifference>& validations) {
  std::map<std::string, nlohmann::json> by_job;
  for (const auto& difference : differences) {
    by_job[difference.job]["difference"] = DifferenceJson(difference);
  }
  for (const auto& difference : validations) {
    by_job[difference.job]["validation"] = ValidationJson(difference);
  }
  for (const ComparedJob& compared : fetched.jobs) {
    nlohmann::json row = ComparedJson(compared, fetched.adapters);
    const auto said = by_job.find(compared.job.name());
    if (said != by_job.end()) row.update(said->second);
    std::puts(row.dump().c_str());
  }
}

absl::Status RunCompare(CliContext& context, const CompareOptions& options) {
  if (options.jobs.empty() && options.study.empty()) {
    return absl::InvalidArgumentError("compare needs jobs, or --study");
  }
  ASSIGN_OR_RETURN(const Fetched fetched, Fetch(context, options));
  if (!context.json)
    std::fputs(ComparisonTable(fetched.jobs, fetched.adapters, LineRoom(STDOUT_FILENO)).c_str(),
               stdout);
  std::vector<ComparedJob> scored = fetched.jobs;
  ASSIGN_OR_RETURN(const auto scores, FetchScores(context, scored));
  ASSIGN_OR_RETURN(const std::vector<PairedDifference> differences,
                   PairedDifferences(scored, scores));
  const std::vector<ValidationDifference> validations = ValidationDifferences(fetched.jobs);
  if (context.json) {
    PrintJson(fetched, differences, validations);
  } else if (!differences.empty() || !validations.empty()) {
    const std::string text =
        absl::StrCat(DifferencesText(differences, kRougeType), ValidationText(validations));
    std::printf("\n%s", Printable(text).c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddCompareCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command =
      AddCommand(app, run, "compare",
                 "Put jobs side by side; evaluations also get the paired difference to the first",
                 "graft compare jobs/k3f9 jobs/p2m7", options, RunCompare);
  command->add_option("jobs", options->jobs, "Evaluations, or fine-tune jobs");
  command->add_option("--study", options->study, "All jobs of a study");
}

}  // namespace graft
