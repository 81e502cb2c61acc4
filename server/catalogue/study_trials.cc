#include "server/catalogue/study_trials.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/studies/study_points.h"
#include "common/studies/study_spec.h"
#include "server/catalogue/lookup.h"

namespace graft {
namespace {

// What a person may set.
v1::Study Asked(const v1::Study& asked) {
  v1::Study study;
  study.set_display_name(asked.display_name());
  *study.mutable_labels() = asked.labels();
  study.set_priority(asked.priority());
  if (asked.has_deadline()) *study.mutable_deadline() = asked.deadline();
  study.set_allow_migration(asked.allow_migration());
  *study.mutable_spec_template() = asked.spec_template();
  *study.mutable_space() = asked.space();
  if (asked.has_grid()) *study.mutable_grid() = asked.grid();
  if (asked.has_random()) *study.mutable_random() = asked.random();
  if (asked.has_successive_halving()) {
    *study.mutable_successive_halving() = asked.successive_halving();
  }
  if (asked.has_median_stopping()) *study.mutable_median_stopping() = asked.median_stopping();
  *study.mutable_objective() = asked.objective();
  *study.mutable_limits() = asked.limits();
  if (asked.has_repeats()) study.set_repeats(asked.repeats());
  if (asked.has_seed()) study.set_seed(asked.seed());
  study.set_output_name(asked.output_name());
  if (study.spec_template().has_fine_tune()) {
    study.mutable_spec_template()->mutable_fine_tune()->clear_output_name();
  }
  return study;
}

// Of a point whose own values are at fault the message says which point it is.
absl::Status OfTrial(const absl::Status& status, const StudyPoint& point, int32_t trial) {
  if (point.parameters.empty()) return status;
  return Annotate(status, absl::StrCat("trial ", trial, " (", PointLabel(point.parameters), ")"));
}

v1::Trial NewTrial(const StudyPoint& point, int32_t number, int32_t of_point) {
  v1::Trial trial;
  trial.set_number(number);
  trial.set_point(of_point);
  trial.mutable_parameters()->insert(point.parameters.begin(), point.parameters.end());
  return trial;
}

// With the seed of its repetition, which the trial is told of.
void SetSeed(int repeat, bool repeats, v1::Job& job, v1::Trial& trial) {
  v1::TrainingSpec& training =
      *job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training();
  training.set_seed(training.seed() + repeat);
  trial.set_seed(training.seed());
  if (repeats) {
    job.mutable_spec()->mutable_fine_tune()->mutable_training()->set_seed(training.seed());
  }
}

}  // namespace

absl::StatusOr<NewStudy> MakeStudy(const Catalogue& catalogue, const v1::Study& asked,
                                   const SpecDefaults& defaults, absl::string_view path) {
  NewStudy made;
  v1::Study& study = made.study = Asked(asked);
  RETURN_IF_ERROR(ValidateStudy(study, path));
  ResolveStudy(study);
  ASSIGN_OR_RETURN(const std::vector<StudyPoint> points,
                   PointsOf(study, study.limits().max_trials() / study.repeats(), path));
  const std::string spec_path = absl::StrCat(path, ".spec_template");
  const int brackets = study.has_successive_halving() ? study.successive_halving().brackets() : 1;
  const auto trials = static_cast<int32_t>(points.size()) * study.repeats();
  for (int32_t i = 0; i < trials; ++i) {
    const int32_t number = i / study.repeats();
    const StudyPoint& point = points[number];
    v1::Trial& trial = *study.add_trials() = NewTrial(point, i + 1, number + 1);
    trial.set_bracket(number % brackets);
    v1::Job& job = made.jobs.emplace_back();
    *job.mutable_spec() = point.spec;
    RETURN_IF_ERROR(OfTrial(ValidateSpec(job.spec(), spec_path), point, i + 1));
    absl::StatusOr<ResolvedFromStore> resolved =
        ResolveFromStore(catalogue, job.spec(), defaults, spec_path);
    RETURN_IF_ERROR(OfTrial(resolved.status(), point, i + 1));
    RETURN_IF_ERROR(resolved->missing_data);
    *job.mutable_resolved_spec() = std::move(resolved->spec);
    job.mutable_warnings()->Assign(resolved->warnings.begin(), resolved->warnings.end());
    if (!job.spec().has_fine_tune()) continue;
    SetSeed(i % study.repeats(), study.repeats() > 1, job, trial);
    study.set_exhaustive_steps(study.exhaustive_steps() +
                               job.resolved_spec().fine_tune().training().max_steps());
  }
  return made;
}

}  // namespace graft
