#include "server/analysis/comparison.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/formats/evaluation_files.h"
#include "common/jobs/job_state.h"
#include "common/jobs/method.h"
#include "common/jobs/names.h"
#include "server/analysis/compared_job.h"
#include "server/analysis/paired_difference.h"
#include "server/analysis/row_scores.h"
#include "server/analysis/seed_groups.h"
#include "server/analysis/validation_difference.h"

namespace graft {
namespace {

const char* const kScores[] = {"rougeLsum", "rouge1", "rouge2", "rougeL"};

// All that is wrong with the request by itself.
absl::Status CheckComparison(const v1::CompareJobsRequest& request) {
  Violations violations;
  if (request.names().empty() && request.study().empty()) {
    violations.Add("names", "must name jobs, or study a study");
  }
  if (request.study().size() > kMaxStudyBytes) {
    violations.Add("study", absl::StrCat("must have at most ", kMaxStudyBytes, " bytes"));
  }
  const std::string& metric = request.metric();
  if (!metric.empty() &&
      std::find(std::begin(kScores), std::end(kScores), metric) == std::end(kScores)) {
    violations.Add("metric", "must be rouge1, rouge2, rougeL or rougeLsum");
  }
  return violations.ToStatus();
}

absl::Status TooMany(const char* what) {
  return FieldViolation("names", absl::StrCat("more than ", kMaxComparedJobs, " ", what,
                                              " are not compared at once; name those that matter"));
}

// The jobs that are compared, each once: those that are named, then the study's.
class JobNames {
 public:
  absl::Status Add(const std::string& name) {
    if (!known_.insert(name).second) return absl::OkStatus();
    if (names_.size() == kMaxComparedJobs) return TooMany("jobs");
    names_.push_back(name);
    return absl::OkStatus();
  }
  const std::vector<std::string>& all() const { return names_; }

 private:
  std::set<std::string> known_;
  std::vector<std::string> names_;
};

absl::StatusOr<JobNames> FindNames(JobStore& store, const v1::CompareJobsRequest& request) {
  JobNames names;
  for (const std::string& name : request.names()) {
    ASSIGN_OR_RETURN(const std::string id, ParseJobId(name));
    RETURN_IF_ERROR(names.Add(JobName(id)));
  }
  if (request.study().empty()) return names;
  JobQuery query;
  query.filter.study = request.study();
  query.order = JobOrder::kOldestFirst;
  query.page_size = kMaxPageSize;
  bool found = false;
  do {
    ASSIGN_OR_RETURN(const Page<v1::Job> page, store.ListJobs(query));
    for (const v1::Job& job : page.items) RETURN_IF_ERROR(names.Add(job.name()));
    found = found || !page.items.empty();
    query.page_token = page.next_page_token;
  } while (!query.page_token.empty());
  if (found) return names;
  return absl::NotFoundError(absl::StrCat("no job belongs to study \"", request.study(), "\""));
}

// The adapter, and of several jobs also which of them.
std::string LabelOfOne(const Contestant& contestant, bool alone) {
  const std::string& name = contestant.job.display_name();
  const std::string& adapter = contestant.evaluated_adapter();
  return alone || name.empty() ? adapter : absl::StrCat(name, ": ", adapter);
}

std::string LabelOf(const Contestant& contestant) {
  const v1::Job& job = contestant.job;
  if (!job.display_name().empty()) return job.display_name();
  if (!job.resolved_spec().has_evaluate()) return MethodName(job.resolved_spec());
  if (contestant.training) return MethodName(contestant.training->resolved_spec());
  const std::string& adapter = job.resolved_spec().evaluate().adapter();
  return adapter.empty() ? "untuned" : adapter;
}

// The adapter and the training behind a job. What was deleted meanwhile is left out.
absl::Status FillOrigin(JobStore& store, Contestant& contestant) {
  const bool evaluates = contestant.job.resolved_spec().has_evaluate();
  if (!evaluates) contestant.training = contestant.job;
  const std::string name =
      evaluates ? contestant.evaluated_adapter() : contestant.job.result().adapter();
  if (!name.empty()) {
    absl::StatusOr<v1::Adapter> adapter = store.GetAdapter(name);
    if (!absl::IsNotFound(adapter.status())) {
      RETURN_IF_ERROR(adapter.status());
      contestant.adapter = *std::move(adapter);
    }
  }
  if (!contestant.training && contestant.adapter && !contestant.adapter->job().empty()) {
    absl::StatusOr<v1::Job> training = store.GetJob(contestant.adapter->job());
    if (!absl::IsNotFound(training.status())) {
      RETURN_IF_ERROR(training.status());
      contestant.training = *std::move(training);
    }
  }
  return absl::OkStatus();
}

// A job, or each of the adapters that it evaluated. `alone`: no other job is compared.
absl::StatusOr<std::vector<Contestant>> MakeContestants(JobStore& store, const v1::Job& job,
                                                        bool alone) {
  std::vector<Contestant> contestants(std::max(1, job.result().adapters_size()));
  for (size_t i = 0; i < contestants.size(); ++i) {
    Contestant& contestant = contestants[i];
    contestant.job = job;
    if (!job.result().adapters().empty()) {
      contestant.of_several = job.result().adapters(static_cast<int>(i));
    }
    RETURN_IF_ERROR(FillOrigin(store, contestant));
    contestant.label = contestant.of_several ? LabelOfOne(contestant, alone) : LabelOf(contestant);
  }
  return contestants;
}

v1::ComparedJob ToProto(const Contestant& contestant) {
  v1::ComparedJob compared;
  compared.set_job(contestant.job.name());
  compared.set_label(contestant.label);
  *compared.mutable_metrics() = contestant.metrics();
  if (contestant.of_several) {
    compared.set_one_of_several(true);
    compared.set_adapter(contestant.of_several->adapter());
  }
  if (!contestant.training) return compared;
  const v1::JobResult& result = contestant.training->result();
  compared.set_training_job(contestant.training->name());
  compared.set_method(MethodName(contestant.training->resolved_spec()));
  compared.set_trainable_parameters(result.trainable_parameters());
  compared.set_train_seconds(result.train_seconds());
  compared.set_adapter(result.adapter());
  if (!contestant.adapter) return compared;
  compared.set_adapter_size_bytes(contestant.adapter->size_bytes());
  compared.set_adapter_directory(contestant.adapter->directory());
  return compared;
}

// The hash of its predictions.jsonl; nothing: it has none.
absl::StatusOr<std::optional<std::string>> FindPredictions(JobStore& store,
                                                           const Contestant& contestant) {
  const std::string path = EvaluationFile(
      contestant.of_several ? contestant.of_several->adapter() : "", kPredictionsFile);
  ASSIGN_OR_RETURN(const std::vector<v1::Artifact> artifacts,
                   store.ListArtifacts(contestant.job.name()));
  for (const v1::Artifact& artifact : artifacts) {
    if (artifact.path() == path) return std::optional(artifact.sha256());
  }
  return std::optional<std::string>();
}

// The differences of the evaluations, to the first of them that stored predictions.
class Pairs {
 public:
  Pairs(const BlobStore& blobs, std::string metric, const Gone& gone)
      : blobs_(blobs), metric_(std::move(metric)), gone_(gone) {}

  struct Evaluation {
    const Contestant* job;
    std::optional<std::string> predictions;
  };

  absl::StatusOr<std::vector<v1::PairedDifference>> Compare(
      const std::vector<Evaluation>& evaluations) const {
    const auto base =
        std::find_if(evaluations.begin(), evaluations.end(),
                     [](const Evaluation& one) { return one.predictions.has_value(); });
    std::vector<v1::PairedDifference> differences;
    if (base == evaluations.end()) return differences;
    std::optional<absl::StatusOr<RowScores>> theirs;
    for (const Evaluation& ours : evaluations) {
      if (&ours == &*base) continue;
      v1::PairedDifference& difference = differences.emplace_back();
      difference.set_job(ours.job->job.name());
      difference.set_to_job(base->job->job.name());
      if (ours.job->of_several) difference.set_adapter(ours.job->of_several->adapter());
      if (base->job->of_several) difference.set_to_adapter(base->job->of_several->adapter());
      difference.set_label(absl::StrCat(ours.job->label, " - ", base->job->label));
      difference.set_metric(metric_);
      difference.set_not_comparable(WhyNot(ours, *base));
      if (!difference.not_comparable().empty()) continue;
      difference.set_note(UnequalDecoding(ours.job->fingerprint(), base->job->fingerprint(),
                                          {"decoding", "max_new_tokens", "max_source_tokens"}));
      if (!theirs) theirs = Read(*base);
      RETURN_IF_ERROR(CompareTo(ours, *theirs, difference));
    }
    return differences;
  }

 private:
  static std::string NameOf(const Contestant& job) {
    return absl::StrCat(job.job.name(), job.of_several ? ", " : "",
                        job.of_several ? job.of_several->adapter() : "");
  }

  static std::string WhyNot(const Evaluation& ours, const Evaluation& base) {
    if (!ours.predictions) {
      return absl::StrCat(NameOf(*ours.job), " stored no predictions: no text was generated");
    }
    return WhyNotComparable(ours.job->fingerprint(), base.job->fingerprint());
  }

  absl::StatusOr<RowScores> Read(const Evaluation& evaluation) const {
    ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> file, blobs_.Open(*evaluation.predictions));
    absl::StatusOr<RowScores> scores = ReadRowScores(*file, metric_, gone_);
    if (scores.ok()) return scores;
    return absl::Status(scores.status().code(),
                        absl::StrCat(kPredictionsFile, " of ", NameOf(*evaluation.job), ": ",
                                     scores.status().message()));
  }

  // A broken file says so where the difference would be, and the others are compared.
  absl::Status CompareTo(const Evaluation& evaluation, const absl::StatusOr<RowScores>& theirs,
                         v1::PairedDifference& difference) const {
    const absl::StatusOr<RowScores> ours = theirs.ok() ? Read(evaluation) : theirs;
    if (ours.ok()) return CompareRows(*ours, *theirs, difference);
    if (absl::IsCancelled(ours.status()) || absl::IsUnavailable(ours.status())) {
      return ours.status();
    }
    difference.set_not_comparable(std::string(ours.status().message()));
    return absl::OkStatus();
  }

  const BlobStore& blobs_;
  const std::string metric_;
  const Gone& gone_;
};

}  // namespace

absl::StatusOr<v1::CompareJobsResponse> CompareJobs(JobStore& store, const BlobStore& blobs,
                                                    const v1::CompareJobsRequest& request,
                                                    const Gone& gone) {
  RETURN_IF_ERROR(CheckComparison(request));
  ASSIGN_OR_RETURN(const JobNames names, FindNames(store, request));
  v1::CompareJobsResponse response;
  std::vector<Contestant> jobs;
  for (const std::string& name : names.all()) {
    RETURN_IF_ERROR(CheckWanted(gone));
    ASSIGN_OR_RETURN(v1::Job job, store.GetJob(name));
    if (job.state() != v1::JOB_STATE_SUCCEEDED) {
      v1::LeftOutJob* left_out = response.add_left_out();
      left_out->set_job(name);
      left_out->set_why(absl::StrCat("it is ", StateName(job.state())));
      continue;
    }
    ASSIGN_OR_RETURN(std::vector<Contestant> contestants,
                     MakeContestants(store, job, names.all().size() == 1));
    if (jobs.size() + contestants.size() > kMaxComparedJobs) return TooMany("results");
    std::move(contestants.begin(), contestants.end(), std::back_inserter(jobs));
  }
  std::vector<Pairs::Evaluation> evaluations;
  for (const Contestant& job : jobs) {
    *response.add_jobs() = ToProto(job);
    ASSIGN_OR_RETURN(std::optional<std::string> predictions, FindPredictions(store, job));
    if (predictions || job.job.resolved_spec().has_evaluate()) {
      evaluations.push_back({&job, std::move(predictions)});
    }
  }
  const std::string metric = request.metric().empty() ? kScores[0] : request.metric();
  ASSIGN_OR_RETURN(std::vector<v1::PairedDifference> differences,
                   Pairs(blobs, metric, gone).Compare(evaluations));
  for (v1::PairedDifference& difference : differences) {
    *response.add_differences() = std::move(difference);
  }
  for (v1::ValidationDifference& difference : ValidationDifferences(jobs)) {
    *response.add_validations() = std::move(difference);
  }
  for (v1::SeedGroup& group : SeedGroups(jobs)) *response.add_seed_groups() = std::move(group);
  return response;
}

}  // namespace graft
