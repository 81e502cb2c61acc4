#include "server/store/study_verbs.h"

#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "common/studies/study_state.h"
#include "server/store/job_insertion.h"
#include "server/store/life_verbs.h"
#include "server/store/page_token.h"
#include "server/store/study_progress.h"

namespace graft {
namespace {

constexpr char kCreateStudyVerb[] = "CreateStudy";
constexpr char kPauseStudyVerb[] = "PauseStudy";
constexpr char kResumeStudyVerb[] = "ResumeStudy";
constexpr char kCancelStudyVerb[] = "CancelStudy";
constexpr char kStudiesQuery[] = "studies";
constexpr int64_t kMaxEventBytes = 1 << 20;

absl::StatusOr<StudyUnderWay> RequireStudy(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(const std::string id, ParseStudyId(name));
  ASSIGN_OR_RETURN(const auto row, context.tables.FindStudy(id));
  if (!row) return absl::NotFoundError(absl::StrCat("there is no ", StudyName(id)));
  ASSIGN_OR_RETURN(auto trials, context.tables.ListTrials(row->number));
  return StudyUnderWay{*row, std::move(trials)};
}

absl::Status WrongStudyState(const v1::Study& study, absl::string_view what) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        study.name(), " is ", StudyStateName(study.state()), "; ", what)),
                    kReasonWrongState);
}

// A verb that changes a study and answers with it as it then is.
template <typename Change>
absl::StatusOr<v1::Study> ChangeStudyOnce(VerbContext& context, absl::string_view verb,
                                          const RequestKey& request, absl::string_view name,
                                          const Change& change) {
  v1::Study answer;
  ASSIGN_OR_RETURN(const bool answered, FindAnswer(context, verb, request, answer));
  ASSIGN_OR_RETURN(StudyUnderWay study, RequireStudy(context, name));
  if (answered) return WholeStudy(study);
  RETURN_IF_ERROR(change(study));
  RETURN_IF_ERROR(Advance(context, study).status());
  answer.set_name(study.row.study.name());
  RETURN_IF_ERROR(KeepAnswer(context, verb, request, answer));
  return WholeStudy(study);
}

std::string TrialOutput(const v1::Study& study, int32_t trial) {
  return absl::StrCat(study.output_name(), "-", trial);
}

// What InsertJob would refuse any of the trials for, and names that are asked for and not free: the
// study's own and those of its trials.
absl::Status CheckTrials(VerbContext& context, const NewStudy& new_study) {
  if (new_study.study.has_deadline()) {
    RETURN_IF_ERROR(
        CheckDeadline(context, FromTimestamp(new_study.study.deadline()), "study.deadline"));
  }
  const bool named = !new_study.study.output_name().empty();
  const auto check = [&](v1::JobSpec spec, const std::string& output) {
    if (named && spec.has_fine_tune()) spec.mutable_fine_tune()->set_output_name(output);
    return CheckInsertion(context, spec, "study.output_name");
  };
  RETURN_IF_ERROR(check(new_study.jobs.at(0).resolved_spec(), new_study.study.output_name()));
  for (size_t i = 0; i < new_study.jobs.size(); ++i) {
    const std::string output = TrialOutput(new_study.study, new_study.study.trials(i).number());
    RETURN_IF_ERROR(check(new_study.jobs[i].resolved_spec(), output));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DoCheckStudy(VerbContext& context, const NewStudy& new_study) {
  return CheckTrials(context, new_study);
}

absl::StatusOr<v1::Study> DoInsertStudy(VerbContext& context, const NewStudy& new_study) {
  absl::StatusOr<v1::Study> answered = DoFindInsertedStudy(context, new_study.request);
  if (!absl::IsNotFound(answered.status())) return answered;
  RETURN_IF_ERROR(CheckTrials(context, new_study));

  StudyUnderWay study;
  study.row.study = new_study.study;
  study.row.study.clear_trials();
  study.row.study.clear_ranking();
  study.trials.assign(new_study.study.trials().begin(), new_study.study.trials().end());
  v1::Study& made = study.row.study;
  const std::string id = context.options.new_job_id();
  made.set_name(StudyName(id));
  if (made.display_name().empty()) made.set_display_name(id);
  if (made.output_name().empty()) made.set_output_name(id);
  *made.mutable_create_time() = ToTimestamp(context.Now());
  study.row.since = context.running_time;
  RETURN_IF_ERROR(context.tables.InsertStudy(study.row));
  for (size_t i = 0; i < study.trials.size(); ++i) {
    v1::Job job = new_study.jobs.at(i);
    const std::string output = TrialOutput(made, study.trials[i].number());
    for (v1::JobSpec* spec : {job.mutable_spec(), job.mutable_resolved_spec()}) {
      if (spec->has_fine_tune()) spec->mutable_fine_tune()->set_output_name(output);
    }
    study.trials[i].set_state(v1::TRIAL_STATE_PENDING);
    RETURN_IF_ERROR(context.tables.InsertTrial(study.row.number, study.trials[i], job));
  }
  RETURN_IF_ERROR(SetStudyState(context, study.row, v1::STUDY_STATE_RUNNING, "created"));
  RETURN_IF_ERROR(Advance(context, study).status());
  v1::Study answer;
  answer.set_name(made.name());
  RETURN_IF_ERROR(KeepAnswer(context, kCreateStudyVerb, new_study.request, answer));
  return WholeStudy(study);
}

absl::StatusOr<v1::Study> DoFindInsertedStudy(VerbContext& context, const RequestKey& request) {
  v1::Study answer;
  ASSIGN_OR_RETURN(const bool answered, FindAnswer(context, kCreateStudyVerb, request, answer));
  if (!answered) return absl::NotFoundError("no such request was answered");
  return DoGetStudy(context, answer.name());
}

absl::StatusOr<v1::Study> DoGetStudy(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(const StudyUnderWay study, RequireStudy(context, name));
  return WholeStudy(study);
}

absl::StatusOr<Page<v1::Study>> DoListStudies(VerbContext& context, int page_size,
                                              absl::string_view page_token) {
  ASSIGN_OR_RETURN(const int size, EffectivePageSize(page_size));
  std::optional<int64_t> before;
  if (!page_token.empty()) {
    ASSIGN_OR_RETURN(const auto parts, ReadPageToken(kStudiesQuery, page_token, 1));
    if (!absl::SimpleAtoi(parts[0], &before.emplace())) {
      return FieldViolation("page_token", "is broken");
    }
  }
  ASSIGN_OR_RETURN(std::vector<StudyRow> rows,
                   context.tables.ListStudies(before, /*open=*/false, size + 1));
  Page<v1::Study> page;
  PageBounds bounds(size);
  int64_t last = 0;
  for (StudyRow& row : rows) {
    row.study.clear_spec_template();
    if (!bounds.Add(row.study.ByteSizeLong())) {
      page.next_page_token = MakePageToken(kStudiesQuery, {absl::StrCat(last)});
      break;
    }
    last = row.number;
    page.items.push_back(std::move(row.study));
  }
  return page;
}

absl::StatusOr<std::vector<std::string>> DoOpenStudies(VerbContext& context) {
  ASSIGN_OR_RETURN(const std::vector<StudyRow> rows,
                   context.tables.ListStudies(std::nullopt, /*open=*/true, -1));
  std::vector<std::string> names;
  names.reserve(rows.size());
  for (const StudyRow& row : rows) names.push_back(row.study.name());
  return names;
}

absl::StatusOr<StoreCounts> DoCount(VerbContext& context) {
  ASSIGN_OR_RETURN(StoreCounts counts, context.tables.Counts());
  ASSIGN_OR_RETURN(const std::vector<StudyRow> rows,
                   context.tables.ListStudies(std::nullopt, /*open=*/true, -1));
  for (const StudyRow& row : rows) ++counts.open_studies[row.study.state()];
  return counts;
}

absl::StatusOr<std::vector<v1::StudyEvent>> DoReadStudyEvents(VerbContext& context,
                                                              absl::string_view study,
                                                              int64_t after, int limit) {
  ASSIGN_OR_RETURN(const std::string id, ParseStudyId(study));
  ASSIGN_OR_RETURN(const auto row, context.tables.FindStudy(id));
  if (!row) return absl::NotFoundError(absl::StrCat("there is no ", StudyName(id)));
  return context.tables.ReadStudyEvents(row->number, after, limit, kMaxEventBytes);
}

absl::StatusOr<StudyAdvance> DoAdvanceStudy(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(StudyUnderWay study, RequireStudy(context, name));
  return Advance(context, study);
}

absl::StatusOr<StudyAdvance> DoFinishStudy(VerbContext& context, absl::string_view name,
                                           const std::vector<v1::Artifact>& files) {
  ASSIGN_OR_RETURN(StudyUnderWay study, RequireStudy(context, name));
  return Finish(context, study, files);
}

absl::StatusOr<v1::Study> DoPauseStudy(VerbContext& context, absl::string_view name,
                                       const RequestKey& request) {
  return ChangeStudyOnce(
      context, kPauseStudyVerb, request, name, [&](StudyUnderWay& study) -> absl::Status {
        if (study.row.study.state() != v1::STUDY_STATE_RUNNING) {
          return WrongStudyState(study.row.study, "only a RUNNING study can be paused");
        }
        for (const v1::Trial& trial : study.trials) {
          if (trial.state() != v1::TRIAL_STATE_RUNNING) continue;
          RETURN_IF_ERROR(PauseTrialJob(context, trial.job()));
        }
        RETURN_IF_ERROR(
            SetStudyState(context, study.row, v1::STUDY_STATE_PAUSED, "asked to pause"));
        study.row.paused_since = context.running_time;
        return SaveStudy(context, study.row);
      });
}

absl::StatusOr<v1::Study> DoResumeStudy(VerbContext& context, absl::string_view name,
                                        const RequestKey& request) {
  return ChangeStudyOnce(
      context, kResumeStudyVerb, request, name, [&](StudyUnderWay& study) -> absl::Status {
        if (study.row.study.state() != v1::STUDY_STATE_PAUSED) {
          return WrongStudyState(study.row.study, "only a PAUSED study can be resumed");
        }
        for (const v1::Trial& trial : study.trials) {
          if (trial.state() != v1::TRIAL_STATE_RUNNING) continue;
          RETURN_IF_ERROR(ResumeTrialJob(context, trial.job(), std::nullopt));
        }
        RETURN_IF_ERROR(
            SetStudyState(context, study.row, v1::STUDY_STATE_RUNNING, "asked to resume"));
        study.row.since +=
            context.running_time - study.row.paused_since.value_or(context.running_time);
        study.row.paused_since.reset();
        return SaveStudy(context, study.row);
      });
}

absl::StatusOr<v1::Study> DoCancelStudy(VerbContext& context, absl::string_view name,
                                        const RequestKey& request) {
  return ChangeStudyOnce(
      context, kCancelStudyVerb, request, name, [&](StudyUnderWay& study) -> absl::Status {
        if (study.row.study.done()) return absl::OkStatus();
        for (v1::Trial& trial : study.trials) {
          if (IsFinal(trial.state())) continue;
          if (!trial.job().empty()) RETURN_IF_ERROR(CancelTrialJob(context, trial.job()));
          trial.set_state(v1::TRIAL_STATE_CANCELLED);
          trial.set_state_reason("the study was cancelled");
          RETURN_IF_ERROR(context.tables.PutTrial(study.row.number, trial));
        }
        RETURN_IF_ERROR(
            SetStudyState(context, study.row, v1::STUDY_STATE_CANCELLED, "asked to cancel"));
        return SaveStudy(context, study.row);
      });
}

absl::Status DoDeleteStudy(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(const StudyUnderWay study, RequireStudy(context, name));
  if (!study.row.study.done()) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          study.row.study.name(), " is ", StudyStateName(study.row.study.state()),
                          "; cancel it first")),
                      kReasonNotDone);
  }
  return context.tables.DeleteStudy(study.row.number);
}

}  // namespace graft
