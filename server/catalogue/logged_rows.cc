#include "server/catalogue/logged_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

template <typename Numbers>
MetricRow RowOf(const v1::JobEvent& event, const Numbers& numbers) {
  MetricRow row;
  row.step = numbers.step();
  row.epoch = numbers.epoch();
  row.wall_time_seconds =
      static_cast<double>(event.create_time().seconds()) + 1e-9 * event.create_time().nanos();
  row.values.insert(numbers.values().begin(), numbers.values().end());
  return row;
}

// Of an evaluation of several adapters each has numbers of its own: "news-lora:eval/loss".
MetricRow RowOf(const v1::JobEvent& event) {
  if (event.has_metrics()) return RowOf(event, event.metrics());
  const v1::EvaluationResult& evaluation = event.evaluation();
  MetricRow row = RowOf(event, evaluation);
  if (evaluation.adapter().empty()) return row;
  row.values.clear();
  for (const auto& [name, value] : evaluation.values()) {
    row.values[absl::StrCat(evaluation.adapter(), ":", name)] = value;
  }
  return row;
}

bool IsUndone(const v1::JobEvent& event, int64_t step, const std::vector<Rollback>& rollbacks) {
  return std::any_of(rollbacks.begin(), rollbacks.end(), [&](const Rollback& rollback) {
    return event.sequence() < rollback.event && step > rollback.step;
  });
}

}  // namespace

absl::Status ForEachEvent(JobStore& store, absl::string_view job, int64_t last, const Gone& gone,
                          const std::function<absl::Status(const v1::JobEvent&)>& visit) {
  int64_t after = 0;
  while (true) {
    RETURN_IF_ERROR(CheckWanted(gone));
    ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events,
                     store.ReadEvents(job, after, kMaxEventsPerRead));
    for (const v1::JobEvent& event : events) {
      if (event.sequence() > last) return absl::OkStatus();
      RETURN_IF_ERROR(visit(event));
      after = event.sequence();
    }
    if (events.empty()) return absl::OkStatus();
  }
}

void NoteRollback(const v1::JobEvent& event, std::vector<Rollback>& rollbacks) {
  if (event.divergence().action() != v1::DIVERGENCE_ACTION_ROLLED_BACK) return;
  rollbacks.push_back({event.sequence(), event.divergence().rolled_back_to_step()});
}

absl::Status VisitRow(const v1::JobEvent& event, const std::vector<Rollback>& rollbacks,
                      const std::function<absl::Status(const MetricRow&)>& visit) {
  if (!event.has_metrics() && !event.has_evaluation()) return absl::OkStatus();
  const MetricRow row = RowOf(event);
  return IsUndone(event, row.step, rollbacks) ? absl::OkStatus() : visit(row);
}

}  // namespace graft
