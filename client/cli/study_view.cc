#include "client/cli/study_view.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/terminal.h"
#include "common/studies/study_points.h"
#include "common/studies/study_ranking.h"
#include "common/studies/study_state.h"

namespace graft {
namespace {

constexpr int kDecimals = 4;
constexpr size_t kCurveColumns = 8;
constexpr size_t kMaxParameterColumns = 4;

std::string Number(double value) { return FormatNumber(value, kDecimals); }

std::map<std::string, std::string> ParametersOf(const v1::Trial& trial) {
  return ShortParameters({trial.parameters().begin(), trial.parameters().end()});
}

// JSON's quotes say nothing to people.
std::string Unquoted(absl::string_view json) {
  if (json.size() < 2 || json.front() != '"' || json.back() != '"') return std::string(json);
  return std::string(json.substr(1, json.size() - 2));
}

// The last number that is known of a trial.
std::string LastValue(const v1::Trial& trial) {
  if (trial.has_value()) return Number(trial.value());
  return trial.values().empty() ? "-" : Number(trial.values().rbegin()->value());
}

std::string CurveOf(const v1::Trial& trial) {
  std::deque<double> values;
  for (const v1::RungValue& value : trial.values()) {
    if (std::isfinite(value.value())) values.push_back(value.value());
  }
  if (trial.has_value()) values.push_back(trial.value());
  return LossCurve(values, kCurveColumns);
}

// The names of the parameters, as columns; several in one where there are many.
std::vector<std::string> ParameterNames(const v1::Study& study) {
  std::vector<std::string> names;
  if (study.trials().empty()) return names;
  for (const auto& [name, value] : ParametersOf(study.trials(0))) names.push_back(name);
  return names;
}

std::vector<std::string> ParameterHeader(const v1::Study& study) {
  const std::vector<std::string> names = ParameterNames(study);
  if (names.size() > kMaxParameterColumns) return {"PARAMETERS~"};
  std::vector<std::string> header;
  for (const std::string& name : names) {
    header.push_back(absl::StrCat(absl::AsciiStrToUpper(name), "~"));
  }
  return header;
}

void AddParameters(const v1::Study& study, const v1::Trial& trial,
                   std::vector<std::string>& cells) {
  const std::map<std::string, std::string> parameters = ParametersOf(trial);
  if (parameters.size() > kMaxParameterColumns) {
    cells.push_back(absl::StrJoin(parameters, " ", absl::PairFormatter("=")));
    return;
  }
  for (const std::string& name : ParameterNames(study)) {
    const auto found = parameters.find(name);
    cells.push_back(found == parameters.end() ? "-" : Unquoted(found->second));
  }
}

std::string Objective(const v1::Study& study) {
  return absl::AsciiStrToUpper(absl::StripPrefix(study.objective().metric(), "eval/"));
}

std::string Points(const google::protobuf::RepeatedField<int32_t>& points) {
  return absl::StrCat(points.size() == 1 ? "point " : "points ", absl::StrJoin(points, ", "));
}

std::string DecisionText(const v1::RungDecision& decision) {
  std::vector<std::string> parts;
  if (!decision.promoted().empty()) {
    parts.push_back(absl::StrCat(
        Points(decision.promoted()), decision.promoted_size() == 1 ? " goes on " : " go on ",
        decision.until_step() == 0 ? "to the end"
                                   : absl::StrCat("to step ", decision.until_step())));
  }
  if (!decision.stopped().empty()) {
    parts.push_back(absl::StrCat(Points(decision.stopped()),
                                 decision.stopped_size() == 1 ? " is stopped" : " are stopped"));
  }
  return absl::StrCat("step ", decision.step(), ": ", absl::StrJoin(parts, ", "), " (",
                      decision.reason(), ")");
}

std::string EventText(const v1::StudyEvent& event) {
  switch (event.payload_case()) {
    case v1::StudyEvent::kStateChange:
      return absl::StrCat(StudyStateText(event.state_change().to()), ": ",
                          event.state_change().reason());
    case v1::StudyEvent::kTrialBegun:
      return absl::StrCat("trial ", event.trial_begun().trial(), " begins as ",
                          event.trial_begun().job(),
                          event.trial_begun().until_step() > 0
                              ? absl::StrCat(", to step ", event.trial_begun().until_step())
                              : "");
    case v1::StudyEvent::kDecision:
      return DecisionText(event.decision());
    case v1::StudyEvent::kTrialEnded: {
      const v1::TrialEnded& ended = event.trial_ended();
      return absl::StrCat("trial ", ended.trial(), " ", TrialStateText(ended.state()),
                          ended.has_value() ? absl::StrCat(": ", Number(ended.value())) : "",
                          ended.reason().empty() ? "" : absl::StrCat(" (", ended.reason(), ")"));
    }
    default:
      return "an event of a newer server";
  }
}

}  // namespace

std::string StudyStateText(v1::StudyState state) {
  return absl::AsciiStrToLower(StudyStateName(state));
}

std::string TrialStateText(v1::TrialState state) {
  return absl::AsciiStrToLower(TrialStateName(state));
}

std::string StudyLine(const v1::Study& study) {
  std::map<v1::TrialState, int> counts;
  for (const v1::Trial& trial : study.trials()) ++counts[trial.state()];
  std::vector<std::string> parts = {StudyStateText(study.state())};
  for (const auto& [state, count] : counts) {
    parts.push_back(absl::StrCat(count, " ", TrialStateText(state)));
  }
  if (study.exhaustive_steps() > 0) {
    parts.push_back(absl::StrCat(FormatCount(study.planned_steps()), " of ",
                                 FormatCount(study.exhaustive_steps()), " steps"));
  }
  if (!study.ranking().empty()) {
    parts.push_back(absl::StrCat("best ", study.objective().metric(), " ",
                                 Number(study.ranking(0).mean()), " (point ",
                                 study.ranking(0).point(), ")"));
  }
  return absl::StrJoin(parts, ", ");
}

std::string TrialTable(const v1::Study& study, const StudyLook& look) {
  std::vector<std::string> header = {"TRIAL>"};
  for (std::string& name : ParameterHeader(study)) header.push_back(std::move(name));
  if (study.repeats() > 1) header.push_back("SEED>?");
  header.insert(header.end(), {"STATE", "STEPS>?", absl::StrCat(Objective(study), ">")});
  const bool curves = look.utf8 && !study.rung_steps().empty();
  if (curves) header.push_back("CURVE?");
  header.push_back("JOB?");
  Table table(header);
  size_t rows = 0;
  for (const v1::Trial* trial : TrialsByRank(study)) {
    if (++rows > look.max_trials) break;
    std::vector<std::string> cells = {absl::StrCat(trial->number())};
    AddParameters(study, *trial, cells);
    if (study.repeats() > 1) cells.push_back(absl::StrCat(trial->seed()));
    cells.push_back(TrialStateText(trial->state()));
    cells.push_back(trial->steps() > 0 ? FormatCount(trial->steps()) : "-");
    cells.push_back(LastValue(*trial));
    if (curves) cells.push_back(CurveOf(*trial));
    cells.push_back(trial->job().empty() ? "-" : trial->job());
    table.AddRow(std::move(cells));
  }
  return table.ToString(look.room);
}

std::string PlanTable(const v1::Study& study, const StudyLook& look) {
  std::vector<std::string> header = {"TRIAL>"};
  for (std::string& name : ParameterHeader(study)) header.push_back(std::move(name));
  if (study.repeats() > 1) header.push_back("SEED>");
  Table table(header);
  for (const v1::Trial& trial : study.trials()) {
    std::vector<std::string> cells = {absl::StrCat(trial.number())};
    AddParameters(study, trial, cells);
    if (study.repeats() > 1) cells.push_back(absl::StrCat(trial.seed()));
    table.AddRow(std::move(cells));
  }
  return table.ToString(look.room);
}

std::string RankingTable(const v1::Study& study, const StudyLook& look) {
  if (study.ranking().empty()) return "";
  std::map<int32_t, const v1::Trial*> first;
  for (const v1::Trial& trial : study.trials()) first.try_emplace(trial.point(), &trial);
  const bool repeats = study.repeats() > 1;
  std::vector<std::string> header = {"POINT>"};
  for (std::string& name : ParameterHeader(study)) header.push_back(std::move(name));
  header.insert(header.end(), {absl::StrCat(Objective(study), ">"), "AFTER>"});
  if (repeats) header.insert(header.end(), {"95 %", "LESS THAN THE BEST BY", ""});
  Table table(header);
  for (int i = 0; i < study.ranking_size(); ++i) {
    const v1::RankedPoint& ranked = study.ranking(i);
    std::vector<std::string> cells = {absl::StrCat(ranked.point())};
    AddParameters(study, *first.at(ranked.point()), cells);
    cells.push_back(Number(ranked.mean()));
    cells.push_back(ranked.step() == 0 ? "end" : absl::StrCat("step ", ranked.step()));
    if (repeats) {
      const bool interval = ranked.values() > 1;
      cells.push_back(interval ? absl::StrCat(Number(ranked.low()), "..", Number(ranked.high()))
                               : "-");
      const bool compared = ranked.difference_low() != 0 || ranked.difference_high() != 0;
      cells.push_back(compared ? absl::StrCat(Number(ranked.difference_low()), "..",
                                              Number(ranked.difference_high()))
                               : "-");
      cells.push_back(ranked.indistinguishable() ? "not told apart" : "");
    }
    table.AddRow(std::move(cells));
  }
  return table.ToString(look.room);
}

std::string StudyEventLine(const v1::StudyEvent& event) {
  return absl::StrCat(FormatTime(event.create_time()), "  ", EventText(event), "\n");
}

}  // namespace graft
