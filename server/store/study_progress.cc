#include "server/store/study_progress.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/errors/status_details.h"
#include "common/formats/manifest.h"
#include "common/jobs/artifacts.h"
#include "common/jobs/job_state.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "common/studies/study_decisions.h"
#include "common/studies/study_points.h"
#include "common/studies/study_ranking.h"
#include "common/studies/study_spec.h"
#include "common/studies/study_state.h"
#include "server/store/catalogue_verbs.h"
#include "server/store/job_insertion.h"
#include "server/store/life_verbs.h"
#include "server/store/needs.h"

namespace graft {
namespace {

constexpr size_t kMaxErrorsTold = 3;
constexpr size_t kMaxShownBytes = 120;  // Of a name or label that is made of parameters.

// One advance of one study.
class Advancing {
 public:
  // `files` are published with the best; null: the study does not end yet.
  Advancing(VerbContext& context, StudyUnderWay& study, const std::vector<v1::Artifact>* files)
      : context_(context),
        study_(study.row.study),
        row_(study.row),
        trials_(study.trials),
        files_(files) {}

  absl::StatusOr<StudyAdvance> Run() {
    if (study_.done()) return StudyAdvance();
    const std::vector<v1::Trial> before = trials_;
    for (v1::Trial& trial : trials_) {
      if (!trial.job().empty() && !IsFinal(trial.state())) RETURN_IF_ERROR(TakeIn(trial));
    }
    StudyAdvance advance;
    if (study_.state() == v1::STUDY_STATE_RUNNING) {
      RETURN_IF_ERROR(EndAtTimeLimit(advance));
      RETURN_IF_ERROR(Act());
      const bool open = std::any_of(trials_.begin(), trials_.end(),
                                    [](const v1::Trial& trial) { return !IsFinal(trial.state()); });
      advance.ending = !open && files_ == nullptr;
      if (!open && files_ != nullptr) RETURN_IF_ERROR(Finish(advance));
      advance.state = study_.state();
    }
    for (size_t i = 0; i < trials_.size(); ++i) {
      if (trials_[i].SerializeAsString() == before[i].SerializeAsString()) continue;
      changed_ = true;
      RETURN_IF_ERROR(context_.tables.PutTrial(row_.number, trials_[i]));
    }
    if (changed_) RETURN_IF_ERROR(SaveStudy(context_, row_));
    advance.blocked = blocked_;
    return advance;
  }

 private:
  // ---- What became of the jobs ---------------------------------------------------------------

  static std::optional<double> Find(const google::protobuf::Map<std::string, double>& values,
                                    const std::string& metric) {
    const auto found = values.find(metric);
    if (found == values.end() || !std::isfinite(found->second)) return std::nullopt;
    return found->second;
  }

  absl::Status End(v1::Trial& trial, v1::TrialState state, const std::string& reason) {
    trial.set_state(state);
    trial.set_state_reason(reason);
    v1::StudyEvent event;
    v1::TrialEnded& ended = *event.mutable_trial_ended();
    ended.set_trial(trial.number());
    ended.set_state(state);
    if (trial.has_value()) ended.set_value(trial.value());
    ended.set_reason(reason);
    changed_ = true;
    return AddStudyEvent(context_, row_, std::move(event));
  }

  // The objective at the rungs up to `step`; one that has no number there has NaN.
  absl::Status TakeValues(v1::Trial& trial, int64_t job, int64_t step) {
    for (const int64_t rung : study_.rung_steps()) {
      if (rung > step) break;
      if (!trial.values().empty() && trial.values().rbegin()->step() >= rung) continue;
      ASSIGN_OR_RETURN(const auto logged,
                       context_.tables.FindLogged(job, LoggedKind::kEvaluation, rung));
      if (!logged) continue;
      v1::RungValue& value = *trial.add_values();
      value.set_step(rung);
      value.set_value(Find(logged->values(), study_.objective().metric())
                          .value_or(std::numeric_limits<double>::quiet_NaN()));
    }
    return absl::OkStatus();
  }

  absl::Status TakeIn(v1::Trial& trial) {
    ASSIGN_OR_RETURN(const std::string id, ParseJobId(trial.job()));
    ASSIGN_OR_RETURN(const std::optional<JobRow> row, context_.tables.FindJob(id));
    if (!row) return End(trial, v1::TRIAL_STATE_CANCELLED, "its job was deleted");
    const v1::Job& job = row->job;
    const bool waits = job.state() == v1::JOB_STATE_PAUSED && IsAtRung(job);
    if (waits || job.done()) RETURN_IF_ERROR(TakeValues(trial, row->number, job.step()));
    switch (job.state()) {
      case v1::JOB_STATE_SUCCEEDED: {
        const auto value = Find(job.result().metrics(), study_.objective().metric());
        if (value) trial.set_value(*value);
        return End(trial, v1::TRIAL_STATE_SUCCEEDED,
                   value || study_.objective().metric().empty()
                       ? ""
                       : absl::StrCat("it measured no ", study_.objective().metric()));
      }
      case v1::JOB_STATE_FAILED:
        return End(trial, v1::TRIAL_STATE_FAILED, job.state_reason());
      case v1::JOB_STATE_CANCELLED:
        return End(trial, v1::TRIAL_STATE_CANCELLED, job.state_reason());
      default:
        trial.set_state(waits ? v1::TRIAL_STATE_WAITING : v1::TRIAL_STATE_RUNNING);
        return absl::OkStatus();
    }
  }

  // ---- What follows ----------------------------------------------------------------------------

  // Whether the trial has come to the rung at this step, or never will; with its value, if any.
  static PointResult ResultOf(const v1::Trial& trial, int64_t step) {
    for (const v1::RungValue& value : trial.values()) {
      if (value.step() != step) continue;
      if (std::isfinite(value.value())) return {true, value.value()};
      return {true, std::nullopt};
    }
    if (trial.state() == v1::TRIAL_STATE_SUCCEEDED && trial.has_value()) {
      return {true, trial.value()};
    }
    return {IsFinal(trial.state()), std::nullopt};
  }

  StudyResults Results() const {
    StudyResults results(trials_.empty() ? 0 : trials_.back().point());
    for (size_t point = 0; point < results.size(); ++point) {
      for (const int64_t step : study_.rung_steps()) {
        PointResult& of_point = results[point].emplace_back(PointResult{true, std::nullopt});
        double sum = 0;
        int count = 0;
        for (int i = 0; i < study_.repeats(); ++i) {
          const PointResult one = ResultOf(trials_[point * study_.repeats() + i], step);
          of_point.there &= one.there;
          if (one.value) sum += *one.value;
          if (one.value) ++count;
        }
        if (count > 0) of_point.value = sum / count;
      }
    }
    return results;
  }

  v1::RungProgress& RungOf(const StudyDecision& made) {
    const int64_t step = study_.rung_steps(made.rung);
    for (v1::RungProgress& rung : *study_.mutable_rungs()) {
      if (rung.bracket() == made.bracket && rung.step() == step) return rung;
    }
    v1::RungProgress& rung = *study_.add_rungs();
    rung.set_bracket(made.bracket);
    rung.set_step(step);
    return rung;
  }

  absl::Status LogDecisions(const StudyCourse& course) {
    for (const StudyDecision& made : course.decisions) {
      v1::RungProgress& rung = RungOf(made);
      if (made.number <= rung.decisions()) continue;
      rung.set_decisions(made.number);
      v1::StudyEvent event;
      v1::RungDecision& decision = *event.mutable_decision();
      decision.set_bracket(made.bracket);
      decision.set_step(study_.rung_steps(made.rung));
      decision.set_decision(made.number);
      for (const int point : made.looked_at) decision.add_points(point + 1);
      for (const int point : made.promoted) decision.add_promoted(point + 1);
      for (const int point : made.stopped) decision.add_stopped(point + 1);
      decision.set_until_step(PauseStepOf(made.rung + 1));
      decision.set_reason(made.reason);
      changed_ = true;
      RETURN_IF_ERROR(AddStudyEvent(context_, row_, std::move(event)));
    }
    return absl::OkStatus();
  }

  // 0: none, to the end.
  int64_t PauseStepOf(int rung) const {
    return rung < study_.rung_steps_size() ? study_.rung_steps(rung) : 0;
  }

  absl::Status Act() {
    const StudyCourse course = Decide(study_, Results());
    RETURN_IF_ERROR(LogDecisions(course));
    study_.set_planned_steps(course.planned_steps);
    const int limit = study_.limits().max_parallel_trials();
    int64_t active = std::count_if(trials_.begin(), trials_.end(), [](const v1::Trial& trial) {
      return trial.state() == v1::TRIAL_STATE_RUNNING;
    });
    // Those that have begun come first: what was spent on them is not to lie idle.
    for (const v1::TrialState state : {v1::TRIAL_STATE_WAITING, v1::TRIAL_STATE_PENDING}) {
      for (v1::Trial& trial : trials_) {
        if (trial.state() != state) continue;
        const PointCourse& point = course.points[trial.point() - 1];
        const int64_t until = PauseStepOf(point.rung);
        if (state == v1::TRIAL_STATE_WAITING && Waits(trial, point)) continue;
        if (!point.stopped && limit > 0 && active >= limit) continue;
        RETURN_IF_ERROR(point.stopped                      ? Stop(trial, point.reason)
                        : state == v1::TRIAL_STATE_WAITING ? GoOn(trial, until, point.rung)
                                                           : Begin(trial, until, point.rung));
        if (trial.state() == v1::TRIAL_STATE_RUNNING) ++active;
      }
    }
    return absl::OkStatus();
  }

  // Nothing is decided yet about a point that waits where it was told to go.
  bool Waits(const v1::Trial& trial, const PointCourse& point) const {
    return !point.stopped && trial.steps() == StepsOfRung(study_, point.rung);
  }

  absl::Status Stop(v1::Trial& trial, const std::string& reason) {
    if (!trial.job().empty()) RETURN_IF_ERROR(CancelTrialJob(context_, trial.job()));
    return End(trial, v1::TRIAL_STATE_STOPPED, reason);
  }

  // The trial is left as it is, for the next time.
  bool NoRoom(const absl::Status& status) {
    const bool full = ReasonOf(status) == kReasonQueueFull;
    blocked_ |= full;
    return full;
  }

  void NoteBegun(v1::Trial& trial, int rung) {
    trial.set_state(v1::TRIAL_STATE_RUNNING);
    trial.set_steps(StepsOfRung(study_, rung));
    changed_ = true;
  }

  absl::Status GoOn(v1::Trial& trial, int64_t until, int rung) {
    const absl::Status resumed = ResumeTrialJob(context_, trial.job(), until);
    if (NoRoom(resumed)) return absl::OkStatus();
    RETURN_IF_ERROR(resumed);
    NoteBegun(trial, rung);
    return absl::OkStatus();
  }

  absl::Status Begin(v1::Trial& trial, int64_t until, int rung) {
    ASSIGN_OR_RETURN(v1::Job specs, context_.tables.ReadTrialSpecs(row_.number, trial.number()));
    const absl::Status may = CheckInsertion(context_, specs.resolved_spec());
    if (NoRoom(may)) return absl::OkStatus();
    if (!may.ok()) return End(trial, v1::TRIAL_STATE_FAILED, std::string(may.message()));
    JobRow job;
    job.job.set_display_name(DisplayName(trial));
    *job.job.mutable_labels() = LabelsOf(trial);
    job.job.set_priority(study_.priority());
    if (study_.has_deadline()) *job.job.mutable_deadline() = study_.deadline();
    job.job.set_allow_migration(study_.allow_migration());
    job.job.set_study(study_.display_name());
    *job.job.mutable_warnings() = specs.warnings();
    job.job.set_trial(absl::StrCat(study_.name(), "/trials/", trial.number()));
    job.job.set_pause_at_step(until);
    job.needs = NeedsOf(specs.resolved_spec());
    specs.clear_warnings();
    ASSIGN_OR_RETURN(const v1::Job queued,
                     InsertQueued(context_, job, std::move(specs),
                                  absl::StrCat("trial ", trial.number(), " of ", study_.name())));
    trial.set_job(queued.name());
    NoteBegun(trial, rung);
    v1::StudyEvent event;
    event.mutable_trial_begun()->set_trial(trial.number());
    event.mutable_trial_begun()->set_job(trial.job());
    event.mutable_trial_begun()->set_until_step(until);
    return AddStudyEvent(context_, row_, std::move(event));
  }

  std::string DisplayName(const v1::Trial& trial) const {
    const std::string label = PointLabel({trial.parameters().begin(), trial.parameters().end()});
    const std::string seed =
        study_.repeats() > 1 ? absl::StrCat(label.empty() ? "" : " ", "seed=", trial.seed()) : "";
    return Shortened(absl::StrCat(label, seed), kMaxShownBytes);
  }

  google::protobuf::Map<std::string, std::string> LabelsOf(const v1::Trial& trial) const {
    google::protobuf::Map<std::string, std::string> labels = study_.labels();
    for (const auto& [name, value] :
         ShortParameters({trial.parameters().begin(), trial.parameters().end()})) {
      if (labels.size() < kMaxLabels) labels[name] = Shortened(value, kMaxShownBytes);
    }
    return labels;
  }

  absl::Status EndAtTimeLimit(StudyAdvance& advance) {
    if (study_.limits().max_seconds() <= 0) return absl::OkStatus();
    const absl::Duration end = row_.since + absl::Seconds(study_.limits().max_seconds());
    if (context_.running_time < end) {
      advance.next = end;
      return absl::OkStatus();
    }
    for (v1::Trial& trial : trials_) {
      if (IsFinal(trial.state())) continue;
      RETURN_IF_ERROR(Stop(trial, absl::StrCat("the study's time was over (limits.max_seconds ",
                                               study_.limits().max_seconds(), ")")));
    }
    return absl::OkStatus();
  }

  // ---- The end ---------------------------------------------------------------------------------

  std::string WhyNone() const {
    std::vector<std::string> errors;
    for (const v1::Trial& trial : trials_) {
      if (trial.state_reason().empty() || errors.size() >= kMaxErrorsTold) continue;
      errors.push_back(absl::StrCat("trial ", trial.number(),
                                    trial.job().empty() ? "" : absl::StrCat(" (", trial.job(), ")"),
                                    ": ", trial.state_reason()));
    }
    const size_t more = trials_.size() - errors.size();
    return absl::StrCat("no trial came to its end with a number: ", absl::StrJoin(errors, "; "),
                        more > 0 ? absl::StrCat("; and ", more, " more") : "");
  }

  void AddFiles(v1::Adapter& adapter) const {
    if (files_->empty()) return;
    for (const v1::Artifact& file : *files_) {
      *adapter.add_files() = file;
      adapter.set_size_bytes(adapter.size_bytes() + file.size_bytes());
    }
    adapter.set_sha256(ManifestSha256(ToManifest(adapter.files())));
  }

  // Publishes what the trial made under the study's name, too. Says what came in between.
  template <typename T>
  absl::StatusOr<std::string> Publish(ResourceKind kind, const std::string& from,
                                      absl::Status (*publish)(VerbContext&, const T&)) {
    const ResourceRef named = {kind, study_.output_name()};
    ASSIGN_OR_RETURN(const auto taken, context_.tables.FindResource(named));
    ASSIGN_OR_RETURN(const auto wanted, context_.tables.FindPublisher(named));
    if (taken || wanted) {
      return absl::StrCat("; it stays ", from, ": another ", KindName(kind),
                          taken ? " has" : " will have", " the name ", named.name);
    }
    absl::StatusOr<T> made = DoGetResource<T>(context_, {kind, from});
    if (!made.ok()) return absl::StrCat("; ", made.status().message());
    made->set_name(named.name);
    if constexpr (std::is_same_v<T, v1::Adapter>) AddFiles(*made);
    RETURN_IF_ERROR(publish(context_, *made));
    return std::string();
  }

  absl::Status Finish(StudyAdvance& advance) {
    changed_ = true;
    advance.done = true;
    advance.next = absl::InfiniteDuration();
    const auto succeeded = std::count_if(trials_.begin(), trials_.end(), [](const v1::Trial& t) {
      return t.state() == v1::TRIAL_STATE_SUCCEEDED;
    });
    if (succeeded > 0 && study_.objective().metric().empty()) {
      return SetStudyState(context_, row_, v1::STUDY_STATE_SUCCEEDED,
                           absl::StrCat(succeeded, " of ", trials_.size(),
                                        " trials succeeded; "
                                        "without validation data nothing ranks them"));
    }
    const v1::Study whole = WholeStudy({row_, trials_});
    const v1::Trial* best = BestTrial(whole);
    if (best == nullptr) {
      return SetStudyState(context_, row_, v1::STUDY_STATE_FAILED, WhyNone());
    }
    study_.set_best_trial(best->number());
    ASSIGN_OR_RETURN(const std::string id, ParseJobId(best->job()));
    ASSIGN_OR_RETURN(const auto job, context_.tables.FindJob(id));
    const v1::JobResult result = job ? job->job.result() : v1::JobResult();
    std::string problem = job ? "" : absl::StrCat("; ", best->job(), " was deleted");
    if (!result.adapter().empty()) {
      ASSIGN_OR_RETURN(
          problem, Publish<v1::Adapter>(ResourceKind::kAdapter, result.adapter(), &PublishAdapter));
      if (problem.empty()) study_.set_adapter(study_.output_name());
    } else if (!result.model().empty()) {
      ASSIGN_OR_RETURN(problem,
                       Publish<v1::Model>(ResourceKind::kModel, result.model(), &PublishModel));
      if (problem.empty()) study_.set_model(study_.output_name());
    }
    advance.adapter = study_.adapter();
    advance.model = study_.model();
    return SetStudyState(context_, row_, v1::STUDY_STATE_SUCCEEDED,
                         absl::StrCat("trial ", best->number(), " is the best: ",
                                      study_.objective().metric(), " ", best->value(), problem));
  }

  VerbContext& context_;
  v1::Study& study_;
  StudyRow& row_;
  std::vector<v1::Trial>& trials_;
  const std::vector<v1::Artifact>* const files_;
  bool changed_ = false;
  bool blocked_ = false;
};

}  // namespace

absl::Status AddStudyEvent(VerbContext& context, StudyRow& row, v1::StudyEvent event) {
  event.set_sequence(row.study.last_sequence() + 1);
  *event.mutable_create_time() = ToTimestamp(context.Now());
  row.study.set_last_sequence(event.sequence());
  return context.tables.AppendStudyEvent(row.number, event);
}

absl::Status SetStudyState(VerbContext& context, StudyRow& row, v1::StudyState to,
                           const std::string& reason) {
  v1::StudyEvent event;
  v1::StudyStateChange& change = *event.mutable_state_change();
  change.set_from(row.study.state());
  change.set_to(to);
  change.set_reason(reason);
  row.study.set_state(to);
  row.study.set_state_reason(reason);
  row.study.set_done(IsFinal(to));
  if (row.study.done()) *row.study.mutable_end_time() = ToTimestamp(context.Now());
  return AddStudyEvent(context, row, std::move(event));
}

absl::Status SaveStudy(VerbContext& context, StudyRow& row) {
  ++row.version;
  row.study.set_etag(absl::StrCat(row.version));
  return context.tables.UpdateStudy(row);
}

v1::Study WholeStudy(const StudyUnderWay& study) {
  v1::Study whole = study.row.study;
  whole.mutable_trials()->Assign(study.trials.begin(), study.trials.end());
  const std::vector<v1::RankedPoint> ranking = Rank(whole);
  whole.mutable_ranking()->Assign(ranking.begin(), ranking.end());
  return whole;
}

absl::StatusOr<StudyAdvance> Advance(VerbContext& context, StudyUnderWay& study) {
  return Advancing(context, study, nullptr).Run();
}

absl::StatusOr<StudyAdvance> Finish(VerbContext& context, StudyUnderWay& study,
                                    const std::vector<v1::Artifact>& files) {
  return Advancing(context, study, &files).Run();
}

}  // namespace graft
