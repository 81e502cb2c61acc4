#include "client/cli/study_submission.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cli/job_file.h"
#include "client/cli/study_flags.h"
#include "client/cli/submission.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"
#include "common/studies/study_spec.h"

namespace graft {
namespace {

constexpr char kStudyGroup[] = "Study";

absl::Status SetSearch(const StudySubmission& submission, const std::vector<JobFlag>& flags,
                       v1::Study& study) {
  for (const std::string& range : submission.ranges) {
    RETURN_IF_ERROR(AddRange(flags, "--range", range, /*logarithmic=*/false, study));
  }
  for (const std::string& range : submission.log_ranges) {
    RETURN_IF_ERROR(AddRange(flags, "--log-range", range, /*logarithmic=*/true, study));
  }
  if (submission.random_points > 0) study.mutable_random()->set_points(submission.random_points);
  if (submission.halving_steps > 0 && submission.median_steps > 0) {
    return absl::InvalidArgumentError("--halving: excludes --median-stopping");
  }
  if (submission.halving_steps > 0) {
    v1::SuccessiveHalving& halving = *study.mutable_successive_halving();
    halving.set_min_steps(submission.halving_steps);
    if (submission.reduction_factor > 0) {
      halving.set_reduction_factor(submission.reduction_factor);
    }
    if (submission.brackets > 0) halving.set_brackets(submission.brackets);
  }
  if (submission.median_steps > 0) {
    study.mutable_median_stopping()->set_interval_steps(submission.median_steps);
  }
  return absl::OkStatus();
}

absl::Status SetRest(const StudySubmission& submission, v1::Study& study) {
  study.mutable_objective()->set_metric(submission.objective);
  if (submission.goal == "min") {
    study.mutable_objective()->set_goal(v1::Objective::GOAL_MINIMIZE);
  } else if (submission.goal == "max") {
    study.mutable_objective()->set_goal(v1::Objective::GOAL_MAXIMIZE);
  }
  if (submission.repeats > 0) study.set_repeats(submission.repeats);
  uint64_t seed = 0;
  if (!submission.search_seed.empty()) {
    if (!absl::SimpleAtoi(submission.search_seed, &seed)) {
      return absl::InvalidArgumentError(absl::StrCat("--search-seed: \"", submission.search_seed,
                                                     "\" is not a whole number of 0 or more"));
    }
    study.set_seed(seed);
  }
  v1::StudyLimits& limits = *study.mutable_limits();
  limits.set_max_parallel_trials(submission.max_parallel_trials);
  limits.set_max_steps(submission.max_study_steps);
  if (submission.time_limit.empty()) return absl::OkStatus();
  absl::Duration time;
  if (!absl::ParseDuration(submission.time_limit, &time) || time <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("--time-limit: \"", submission.time_limit,
                                                   "\" is not a time such as 90m or 8h"));
  }
  limits.set_max_seconds(absl::ToDoubleSeconds(time));
  return absl::OkStatus();
}

// What names a file here names the data set that it became.
void RenameFiles(const DataFiles& files, v1::Study& study) {
  const auto known_as = [&](const std::string& name) {
    const auto found = files.find(name);
    return found == files.end() ? name : found->second.name;
  };
  v1::JobSpec& spec = *study.mutable_spec_template();
  v1::DataSpec& data = spec.has_evaluate() ? *spec.mutable_evaluate()->mutable_data()
                                           : *spec.mutable_fine_tune()->mutable_data();
  if (!data.train().empty()) data.set_train(known_as(data.train()));
  if (!data.validation().empty()) data.set_validation(known_as(data.validation()));
  for (auto& [path, dimension] : *study.mutable_space()) {
    if (!dimension.has_choices()) continue;
    for (auto& value : *dimension.mutable_choices()->mutable_values()) {
      if (value.has_string_value()) value.set_string_value(known_as(value.string_value()));
    }
  }
}

absl::Status InStudysWords(const std::vector<JobFlag>& flags, const JobFlagValues& values,
                           const absl::Status& status) {
  const auto given = FieldViolationsOf(status);
  if (given.empty()) return status;
  Violations violations;
  for (const auto& violation : given) {
    violations.Add(NameOfStudyField(flags, values, violation.field()), violation.description(),
                   violation.reason());
  }
  return violations.Explain(status);
}

}  // namespace

void AddStudyFlags(CLI::App& command, StudySubmission& submission) {
  AddJobFlags(command, FineTuneFlags(), submission.job);
  const auto option = [&](const char* name, auto& value, const char* help, const char* type) {
    return command.add_option(name, value, help)->group(kStudyGroup)->type_name(type);
  };
  option("--range", submission.ranges,
         "Values from MIN to MAX, of a grid POINTS of them; may be repeated",
         "NAME=MIN..MAX[:POINTS]");
  option("--log-range", submission.log_ranges, "The same, even in the logarithm",
         "NAME=MIN..MAX[:POINTS]");
  option("--random", submission.random_points, "Draw so many points instead of a grid", "POINTS")
      ->check(CLI::PositiveNumber);
  option("--halving", submission.halving_steps,
         "Successive halving (ASHA): compare after so many steps, then after more and more",
         "STEPS")
      ->check(CLI::PositiveNumber);
  option("--reduction-factor", submission.reduction_factor,
         "Of --halving: one of so many goes on [3]", "N")
      ->check(CLI::PositiveNumber);
  option("--brackets", submission.brackets, "Of --halving [1]", "N")->check(CLI::PositiveNumber);
  option("--median-stopping", submission.median_steps,
         "Every so many steps, end whatever is worse than the median of those before it", "STEPS")
      ->check(CLI::PositiveNumber);
  option("--objective", submission.objective,
         "eval/loss, eval/perplexity, eval/rouge1, eval/rouge2, eval/rougeL, eval/rougeLsum "
         "[eval/loss]",
         "METRIC");
  option("--goal", submission.goal, "min or max [by the metric]", "GOAL")
      ->check(CLI::IsMember({"min", "max"}));
  option("--repeats", submission.repeats, "Trials of each point, with seeds of their own [1]", "N")
      ->check(CLI::PositiveNumber);
  option("--search-seed", submission.search_seed, "Of --random [42]", "SEED");
  option("--max-parallel", submission.max_parallel_trials, "Trials at the same time [all]", "N")
      ->check(CLI::PositiveNumber);
  option("--max-study-steps", submission.max_study_steps, "Steps of all trials [no limit]", "STEPS")
      ->check(CLI::PositiveNumber);
  option("--time-limit", submission.time_limit, "End the study after so long, e.g. 8h [no limit]",
         "TIME");
  option("--request-id", submission.request_id,
         "Makes the same command safe to repeat after a lost answer [a new one]", "ID");
  command
      .add_flag("--validate-only", submission.validate_only,
                "Check it and list its trials, but do not begin (a file of data is uploaded)")
      ->group(kStudyGroup);
}

absl::StatusOr<v1::Study> SubmitStudy(CliContext& context, const StudySubmission& options,
                                      const std::vector<JobFlag>& flags) {
  Submission submission{options.job,
                        flags,
                        "spec",
                        options.request_id.empty() ? NewRequestId() : options.request_id,
                        {}};
  JobFile file;
  if (!options.job.file.empty()) {
    ASSIGN_OR_RETURN(file, ReadJobFile(options.job.file));
    submission.spec_path = file.spec_path;
  }
  if (options.evaluate) {
    file.job.mutable_spec()->mutable_evaluate();
  } else if (!file.job.spec().has_evaluate()) {
    file.job.mutable_spec()->mutable_fine_tune();
  }
  ASSIGN_OR_RETURN(v1::Study study, StudyFromFlags(flags, options.job, file.job));
  if (study.display_name().empty()) study.set_display_name(StudyNameFor(submission.request_id));
  RETURN_IF_ERROR(ValidateRequestId(submission.request_id));
  RETURN_IF_ERROR(SetSearch(options, flags, study));
  RETURN_IF_ERROR(SetRest(options, study));
  const absl::Status valid = ValidateStudy(study, "study");
  if (!valid.ok()) return InStudysWords(flags, options.job, valid);
  // Each job by itself: what is wrong is said as for a job, and files are uploaded.
  ASSIGN_OR_RETURN(submission.jobs,
                   JobsFromFlags(flags, options.job, file.job, study.display_name()));
  for (v1::Job& job : submission.jobs) {
    if (job.spec().has_fine_tune()) job.mutable_spec()->mutable_fine_tune()->clear_output_name();
  }
  DataFiles files;
  RETURN_IF_ERROR(Prepare(context, submission, files));
  RenameFiles(files, study);
  v1::CreateStudyRequest request;
  *request.mutable_study() = std::move(study);
  request.set_request_id(submission.request_id);
  request.set_validate_only(options.validate_only);
  absl::StatusOr<v1::Study> created = context.client->CreateStudy(request);
  if (created.ok()) return created;
  PrintRepetition(created.status(), submission.request_id);
  return InStudysWords(flags, options.job, created.status());
}

}  // namespace graft
