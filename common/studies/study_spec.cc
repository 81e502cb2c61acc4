#include "common/studies/study_spec.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors/field_checks.h"
#include "common/jobs/job_spec.h"
#include "common/studies/field_path.h"

namespace graft {
namespace {

using google::protobuf::FieldDescriptor;

constexpr char kSeedField[] = "fine_tune.training.seed";
constexpr char kLossMetric[] = "eval/loss";
constexpr const char* kObjectives[] = {"eval/loss",   "eval/perplexity", "eval/rouge1",
                                       "eval/rouge2", "eval/rougeL",     "eval/rougeLsum"};
constexpr uint64_t kDefaultSeed = 42;
constexpr int32_t kDefaultReductionFactor = 3;
constexpr int32_t kDefaultMinPoints = 4;
constexpr int kMaxOutputNameBytes = 120;  // Trials add their number.

// Fields that the study itself decides, or that resolution sets.
bool IsTheStudysOwn(absl::string_view field) {
  return absl::EndsWith(field, "output_name") || absl::EndsWith(field, "_sha256");
}

void CheckRange(const FieldScope& scope, const v1::Dimension::Range& range, bool logarithmic,
                bool grid) {
  const bool finite = std::isfinite(range.min()) && std::isfinite(range.max());
  if (!finite || !(range.min() < range.max())) {
    scope.AddHere(absl::StrCat("is ", range.min(), "..", range.max(),
                               "; a range goes from a number to a greater one"));
  } else if (logarithmic && range.min() <= 0) {
    scope.AddHere(absl::StrCat("begins at ", range.min(), "; a log range begins above 0"));
  }
  if (grid && (range.steps() < 2 || range.steps() > kMaxChoices)) {
    scope.AddHere(absl::StrCat("has ", range.steps(), " steps; a grid needs 2 to ", kMaxChoices,
                               " of a range"));
  }
}

void CheckChoices(const FieldScope& scope, const v1::Dimension::Choices& choices) {
  if (choices.values().empty() || choices.values_size() > kMaxChoices) {
    return scope.AddHere(absl::StrCat("has ", choices.values_size(), " choices; 1 to ", kMaxChoices,
                                      " are allowed"));
  }
  std::set<std::string> seen;
  for (const auto& value : choices.values()) {
    if (!seen.insert(value.ShortDebugString()).second) {
      scope.AddHere(absl::StrCat("has a choice twice: ", value.ShortDebugString()));
    }
  }
}

bool IsNumber(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return !field.is_repeated();
    default:
      return false;
  }
}

void CheckDimension(const FieldScope& scope, const std::string& path,
                    const v1::Dimension& dimension, bool grid) {
  const FieldDescriptor* field = FindField(*v1::JobSpec::descriptor(), path);
  if (field == nullptr || path == "fine_tune" || path == "evaluate") {
    return scope.AddHere("is no field that trials can differ in; see spec.proto");
  }
  if (IsTheStudysOwn(path)) return scope.AddHere("is set by the study itself");
  if (path == "evaluate.adapters") {
    return scope.AddHere("makes trials of several results: vary evaluate.adapter instead");
  }
  if (dimension.has_choices()) return CheckChoices(scope, dimension.choices());
  if (dimension.values_case() == v1::Dimension::VALUES_NOT_SET) {
    return scope.AddHere("has no values: choices, range or log_range");
  }
  if (!IsNumber(*field)) return scope.AddHere("is no number; only choices can be given for it");
  const bool logarithmic = dimension.has_log_range();
  CheckRange(scope, logarithmic ? dimension.log_range() : dimension.range(), logarithmic, grid);
}

// A field inside another that is varied as a whole would be set in trials that may not have it.
void CheckNesting(const FieldScope& scope, const v1::Study& study) {
  for (const auto& [outer, ignored] : study.space()) {
    for (const auto& [inner, also_ignored] : study.space()) {
      if (!absl::StartsWith(inner, absl::StrCat(outer, "."))) continue;
      scope.Add(absl::StrCat("space[\"", inner, "\"]"),
                absl::StrCat("lies in ", outer,
                             ", which is varied as a whole; write what is "
                             "wanted of it into the choices there"));
    }
  }
}

void CheckSpace(const FieldScope& scope, const v1::Study& study) {
  if (study.space_size() > kMaxDimensions) {
    scope.Add("space", absl::StrCat("has ", study.space_size(), " fields; at most ", kMaxDimensions,
                                    " are allowed"));
  }
  const char* task = study.spec_template().has_fine_tune() ? "fine_tune." : "evaluate.";
  for (const auto& [path, dimension] : study.space()) {
    const FieldScope at = scope.At(absl::StrCat("space[\"", path, "\"]"));
    if (absl::StartsWith(path, task)) {
      CheckDimension(at, path, dimension, !study.has_random());
    } else {
      at.AddHere(absl::StrCat("is no field of the template's task: their paths begin with ", task));
    }
  }
  CheckNesting(scope, study);
  if (!study.has_random()) return;
  scope.Between<int64_t>("random.points", study.random().points(), 1, kMaxTrials);
  if (study.space().empty()) scope.Add("space", "is empty; there is nothing to draw from");
}

// `steps`: of the first rung. `field`: its name.
void CheckFirstRung(const FieldScope& scope, const v1::Study& study, const char* field,
                    int64_t steps) {
  const v1::TrainingSpec& training = study.spec_template().fine_tune().training();
  const int64_t all = training.max_steps();
  if (!study.spec_template().has_fine_tune() || all < 1) {
    return scope.Add(field,
                     "needs spec_template.fine_tune.training.max_steps: trials that are "
                     "stopped early are compared at steps of a known whole");
  }
  for (const char* fixed :
       {"fine_tune.training.max_steps", "fine_tune.training.eval_every_steps"}) {
    if (!study.space().contains(fixed)) continue;
    scope.Add(absl::StrCat("space[\"", fixed, "\"]"),
              "must be the same in all trials where some are stopped early");
  }
  if (steps < 1 || steps >= all) {
    return scope.Add(
        field, absl::StrCat("is ", steps, "; must be 1 to ", all - 1, " (max_steps is ", all, ")"));
  }
  const int64_t every = training.eval_every_steps();
  if (every > 0 && steps % every != 0) {
    scope.Add(field, absl::StrCat("is ", steps,
                                  ", where no trial is evaluated; must be a multiple "
                                  "of training.eval_every_steps, ",
                                  every));
  }
}

void CheckStopping(const FieldScope& scope, const v1::Study& study) {
  if (study.has_median_stopping()) {
    const v1::MedianStopping& median = study.median_stopping();
    CheckFirstRung(scope, study, "median_stopping.interval_steps", median.interval_steps());
    if (median.has_min_points()) {
      scope.Between<int64_t>("median_stopping.min_points", median.min_points(), 1, kMaxTrials);
    }
    const int64_t all = TotalStepsOf(study);
    if (median.interval_steps() > 0 && (all - 1) / median.interval_steps() > kMaxRungs) {
      scope.Add("median_stopping.interval_steps",
                absl::StrCat("makes more than ", kMaxRungs, " comparisons of ", all, " steps"));
    }
    return;
  }
  if (!study.has_successive_halving()) return;
  const v1::SuccessiveHalving& halving = study.successive_halving();
  CheckFirstRung(scope, study, "successive_halving.min_steps", halving.min_steps());
  if (halving.has_reduction_factor()) {
    scope.Between<int64_t>("successive_halving.reduction_factor", halving.reduction_factor(), 2,
                           100);
  }
  if (!halving.has_brackets()) return;
  v1::Study resolved = study;
  if (halving.min_steps() < 1 || halving.reduction_factor() == 1) return;
  ResolveStudy(resolved);
  scope.Between<int64_t>("successive_halving.brackets", halving.brackets(), 1,
                         std::max(1, resolved.rung_steps_size()));
}

// Without one a study only runs its trials.
bool NeedsObjective(const v1::Study& study) {
  return study.has_successive_halving() || study.has_median_stopping();
}

// Whether every trial has eval/loss.
bool IsValidated(const v1::JobSpec& spec) {
  return spec.has_evaluate() || spec.fine_tune().data().validation_source_case() !=
                                    v1::DataSpec::VALIDATION_SOURCE_NOT_SET;
}

void CheckObjective(const FieldScope& scope, const v1::Study& study) {
  const std::string metric =
      study.objective().metric().empty() ? kLossMetric : study.objective().metric();
  bool known = false;
  for (const char* objective : kObjectives) known |= metric == objective;
  if (!known) {
    return scope.Add(
        "objective.metric",
        absl::StrCat("\"", metric, "\" is nothing that every trial measures; there are ",
                     absl::StrJoin(kObjectives, ", ")));
  }
  const v1::JobSpec& spec = study.spec_template();
  if (study.objective().metric().empty() && !NeedsObjective(study)) return;
  const v1::DataSpec& data = spec.has_evaluate() ? spec.evaluate().data() : spec.fine_tune().data();
  const v1::EvaluationSpec& evaluation =
      spec.has_evaluate() ? spec.evaluate().evaluation() : spec.fine_tune().evaluation();
  if (!IsValidated(spec)) {
    scope.Add("objective.metric", absl::StrCat(metric,
                                               " needs validation data: set data.validation or "
                                               "data.validation_fraction in the template"));
  }
  const bool rouge = absl::StrContains(metric, "rouge");
  const bool scored = (!evaluation.has_max_samples() || evaluation.max_samples() != 0) &&
                      (!data.has_text_field() || evaluation.has_max_samples());
  if (rouge && !scored) {
    scope.Add("objective.metric",
              absl::StrCat(metric, " needs texts: evaluation.max_samples is 0 in the template"));
  }
}

void CheckLimits(const FieldScope& scope, const v1::StudyLimits& limits) {
  scope.Between<int64_t>("max_trials", limits.max_trials(), 0, kMaxTrials);
  scope.AtLeast<int64_t>("max_parallel_trials", limits.max_parallel_trials(), 0);
  scope.AtLeast<int64_t>("max_steps", limits.max_steps(), 0);
  scope.NotNegative("max_seconds", limits.max_seconds());
}

// What a study has in common with the jobs that it makes.
absl::Status CheckJobFields(const v1::Study& study, absl::string_view path) {
  v1::Job job;
  job.set_display_name(study.display_name());
  *job.mutable_labels() = study.labels();
  job.set_priority(study.priority());
  return ValidateJobFields(job, path);
}

}  // namespace

absl::Status ValidateStudy(const v1::Study& study, absl::string_view path) {
  Violations violations;
  const FieldScope scope(violations, path);
  scope.Take(CheckJobFields(study, path));
  if (study.spec_template().task_case() == v1::JobSpec::TASK_NOT_SET) {
    scope.Add("spec_template", "is required: what every trial is told (fine_tune or evaluate)");
    return violations.ToStatus();
  }
  if (!study.spec_template().evaluate().adapters().empty()) {
    scope.Add("spec_template.evaluate.adapters",
              "a trial has one result: vary evaluate.adapter instead, one adapter a trial");
  }
  CheckSpace(scope, study);
  CheckStopping(scope, study);
  CheckObjective(scope, study);
  CheckLimits(scope.At("limits"), study.limits());
  if (study.has_repeats()) scope.Between<int64_t>("repeats", study.repeats(), 1, kMaxRepeats);
  if (study.repeats() > 1 && study.space().contains(kSeedField)) {
    scope.Add("repeats", absl::StrCat("repeats are seeds; ", kSeedField, " is varied already"));
  }
  if (study.repeats() > 1 && study.spec_template().has_evaluate()) {
    scope.Add("repeats", "repeats differ in training.seed, which an evaluation has not");
  }
  if (!study.output_name().empty()) {
    scope.Name("output_name", study.output_name());
    scope.AtMostBytes("output_name", study.output_name(), kMaxOutputNameBytes);
  }
  return violations.ToStatus();
}

int64_t TotalStepsOf(const v1::Study& study) {
  return study.spec_template().fine_tune().training().max_steps();
}

bool Minimizes(const v1::Objective& objective) {
  return objective.goal() == v1::Objective::GOAL_MINIMIZE;
}

void ResolveStudy(v1::Study& study) {
  if (study.search_case() == v1::Study::SEARCH_NOT_SET) study.mutable_grid();
  v1::Objective& objective = *study.mutable_objective();
  if (objective.metric().empty() && IsValidated(study.spec_template())) {
    objective.set_metric(kLossMetric);
  }
  if (objective.goal() == v1::Objective::GOAL_UNSPECIFIED) {
    objective.set_goal(absl::StrContains(objective.metric(), "rouge")
                           ? v1::Objective::GOAL_MAXIMIZE
                           : v1::Objective::GOAL_MINIMIZE);
  }
  if (!study.has_repeats()) study.set_repeats(1);
  if (!study.has_seed()) study.set_seed(kDefaultSeed);
  if (study.limits().max_trials() == 0) study.mutable_limits()->set_max_trials(kMaxTrials);

  study.clear_rung_steps();
  const int64_t all = TotalStepsOf(study);
  int64_t first = 0;
  if (study.has_successive_halving()) {
    v1::SuccessiveHalving& halving = *study.mutable_successive_halving();
    if (!halving.has_reduction_factor()) halving.set_reduction_factor(kDefaultReductionFactor);
    if (!halving.has_brackets()) halving.set_brackets(1);
    first = halving.min_steps();
    for (int64_t step = first; step < all; step *= halving.reduction_factor()) {
      study.add_rung_steps(step);
    }
  } else if (study.has_median_stopping()) {
    v1::MedianStopping& median = *study.mutable_median_stopping();
    if (!median.has_min_points()) median.set_min_points(kDefaultMinPoints);
    first = median.interval_steps();
    for (int64_t step = first; step < all; step += first) study.add_rung_steps(step);
  }
  if (first == 0) return;
  v1::TrainingSpec& training =
      *study.mutable_spec_template()->mutable_fine_tune()->mutable_training();
  if (training.eval_every_steps() == 0) training.set_eval_every_steps(first);
}

}  // namespace graft
