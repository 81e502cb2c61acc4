#include "server/store/event_log.h"

#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {
namespace {

using Values = google::protobuf::Map<std::string, double>;

// Speeds differ from run to run without meaning anything.
bool IsTiming(absl::string_view metric) { return absl::EndsWith(metric, "_per_second"); }

bool SameBits(double a, double b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

absl::Status WarnOfDifference(VerbContext& context, JobRow& row, AttemptRow& attempt, int64_t step,
                              const std::string& metric, double logged, double repeated) {
  if (std::exchange(attempt.difference_logged, true)) return absl::OkStatus();
  v1::JobEvent event;
  event.mutable_warning()->set_code("METRICS_DIFFER");
  event.mutable_warning()->set_text(absl::StrCat("step ", step, " was repeated with another ",
                                                 metric, ": ", logged, " is logged, now it was ",
                                                 repeated, "; later differences are not told"));
  return AddEvent(context, row, std::move(event));
}

// Takes out of `values` what is logged for this step, comparing it.
absl::Status DropLogged(VerbContext& context, JobRow& row, AttemptRow& attempt, int64_t step,
                        const Values& logged, Values& values) {
  const std::map<std::string, double> sorted(values.begin(), values.end());
  for (const auto& [metric, repeated] : sorted) {
    const auto found = logged.find(metric);
    if (found == logged.end()) continue;
    values.erase(metric);
    if (SameBits(found->second, repeated) || IsTiming(metric)) continue;
    RETURN_IF_ERROR(WarnOfDifference(context, row, attempt, step, metric, found->second, repeated));
  }
  return absl::OkStatus();
}

void UpdateLastMetrics(const Values& values, v1::Job& job) {
  for (const auto& [metric, value] : values) (*job.mutable_last_metrics())[metric] = value;
}

// Some of a step's metrics may come later than others; each is logged once.
absl::Status LogMetrics(VerbContext& context, JobRow& row, AttemptRow& attempt,
                        v1::JobEvent event) {
  v1::Metrics& metrics = *event.mutable_metrics();
  UpdateLastMetrics(metrics.values(), row.job);
  ASSIGN_OR_RETURN(std::optional<v1::Metrics> logged,
                   context.tables.FindLogged(row.number, LoggedKind::kMetrics, metrics.step()));
  if (logged) {
    RETURN_IF_ERROR(DropLogged(context, row, attempt, metrics.step(), logged->values(),
                               *metrics.mutable_values()));
    if (metrics.values().empty()) return absl::OkStatus();
  } else {
    logged.emplace();
    logged->set_step(metrics.step());
  }
  for (const auto& [metric, value] : metrics.values()) (*logged->mutable_values())[metric] = value;
  RETURN_IF_ERROR(context.tables.PutLogged(row.number, LoggedKind::kMetrics, *logged));
  return AddEvent(context, row, std::move(event));
}

// What an evaluation found, or its samples, of which nothing is compared.
struct WholeResult {
  LoggedKind kind;
  int64_t step = 0;
  std::string adapter;  // Whose, where several are evaluated at one step; else empty.
  Values values;
};

// The name under which a metric of one of several adapters is logged: "news-lora:eval/loss".
// Without a metric, what says that there is something of the adapter.
std::string LoggedName(const std::string& adapter, const std::string& metric) {
  return adapter.empty() ? metric : absl::StrCat(adapter, ":", metric);
}

// Whole, once for each step and adapter.
absl::Status LogOnce(VerbContext& context, JobRow& row, AttemptRow& attempt,
                     const WholeResult& result, v1::JobEvent event) {
  // Of several none is the job's.
  if (result.adapter.empty()) UpdateLastMetrics(result.values, row.job);
  Values values;
  for (const auto& [metric, value] : result.values)
    values[LoggedName(result.adapter, metric)] = value;
  ASSIGN_OR_RETURN(std::optional<v1::Metrics> logged,
                   context.tables.FindLogged(row.number, result.kind, result.step));
  const std::string mark = LoggedName(result.adapter, "");
  if (logged && (mark.empty() || logged->values().contains(mark))) {
    return DropLogged(context, row, attempt, result.step, logged->values(), values);
  }
  if (!logged) logged.emplace();
  logged->set_step(result.step);
  if (!mark.empty()) (*logged->mutable_values())[mark] = 0;
  for (const auto& [metric, value] : values) (*logged->mutable_values())[metric] = value;
  RETURN_IF_ERROR(context.tables.PutLogged(row.number, result.kind, *logged));
  return AddEvent(context, row, std::move(event));
}

// What a run did after the step to which it went back it does again, and otherwise.
absl::Status LogDivergence(VerbContext& context, JobRow& row, v1::JobEvent event) {
  const v1::Divergence& divergence = event.divergence();
  if (divergence.action() == v1::DIVERGENCE_ACTION_ROLLED_BACK) {
    for (const LoggedKind kind :
         {LoggedKind::kMetrics, LoggedKind::kEvaluation, LoggedKind::kSamples}) {
      RETURN_IF_ERROR(
          context.tables.ForgetLogged(row.number, kind, divergence.rolled_back_to_step()));
    }
  }
  return AddEvent(context, row, std::move(event));
}

void NoteExecution(const v1::StageChange& stage, v1::Job& job, v1::Attempt& attempt) {
  job.set_stage(stage.stage());
  if (stage.total_steps() > 0) job.set_total_steps(stage.total_steps());
  if (!stage.device().empty()) attempt.set_device(stage.device());
  if (!stage.precision().empty()) attempt.set_precision(stage.precision());
  if (stage.threads() > 0) attempt.set_threads(stage.threads());
  if (!stage.engine_version().empty()) attempt.set_engine_version(stage.engine_version());
}

}  // namespace

absl::Status CheckBatch(const EventBatch& batch) {
  if (batch.number < 1) return FieldViolation("batch", "must be 1 or greater");
  if (batch.events.size() > kMaxEventsPerBatch) {
    return FieldViolation("events", absl::StrCat("has ", batch.events.size(), " events; at most ",
                                                 kMaxEventsPerBatch, " are allowed"));
  }
  for (size_t i = 0; i < batch.events.size(); ++i) {
    const v1::JobEvent& event = batch.events[i];
    const std::string field = absl::StrCat("events[", i, "]");
    if (event.payload_case() == v1::JobEvent::PAYLOAD_NOT_SET) {
      return FieldViolation(field, "is of a kind that is not known here");
    }
    if (event.has_state_change()) {
      return FieldViolation(field, "is a change of state, which only the server writes");
    }
    if (event.ByteSizeLong() > kMaxEventBytes) {
      return FieldViolation(field, absl::StrCat("takes ", event.ByteSizeLong(), " bytes; at most ",
                                                kMaxEventBytes, " are allowed"));
    }
  }
  return absl::OkStatus();
}

absl::Status LogEvent(VerbContext& context, JobRow& row, AttemptRow& attempt, v1::JobEvent event) {
  switch (event.payload_case()) {
    case v1::JobEvent::kMetrics:
      return LogMetrics(context, row, attempt, std::move(event));
    case v1::JobEvent::kEvaluation: {
      const v1::EvaluationResult& found = event.evaluation();
      const WholeResult result = {LoggedKind::kEvaluation, found.step(), found.adapter(),
                                  found.values()};
      return LogOnce(context, row, attempt, result, std::move(event));
    }
    case v1::JobEvent::kSamples: {
      const WholeResult result = {
          LoggedKind::kSamples, event.samples().step(), event.samples().adapter(), {}};
      return LogOnce(context, row, attempt, result, std::move(event));
    }
    case v1::JobEvent::kDivergence:
      return LogDivergence(context, row, std::move(event));
    case v1::JobEvent::kCheckpoint:
      return absl::OkStatus();  // Written by CommitCheckpoint, once it can be resumed from.
    case v1::JobEvent::kStageChange:
      NoteExecution(event.stage_change(), row.job, attempt.attempt);
      return AddEvent(context, row, std::move(event));
    default:
      return AddEvent(context, row, std::move(event));
  }
}

}  // namespace graft
