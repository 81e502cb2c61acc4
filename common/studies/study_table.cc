#include "common/studies/study_table.h"

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/studies/study_points.h"
#include "common/studies/study_ranking.h"
#include "common/studies/study_state.h"
#include "common/text/csv_row.h"
#include "common/text/exact_number.h"

namespace graft {
namespace {

std::map<std::string, std::string> ParametersOf(const v1::Trial& trial) {
  return ShortParameters({trial.parameters().begin(), trial.parameters().end()});
}

std::string LastValue(const v1::Trial& trial) {
  if (trial.has_value()) return ExactNumber(trial.value());
  return trial.values().empty() ? "" : ExactNumber(trial.values().rbegin()->value());
}

std::vector<std::string> Header(const v1::Study& study) {
  std::vector<std::string> header = {"place", "trial", "point"};
  if (!study.trials().empty()) {
    for (const auto& [name, value] : ParametersOf(study.trials(0))) header.push_back(name);
  }
  const std::string& metric = study.objective().metric();
  header.insert(header.end(), {"seed", "state", "steps", metric.empty() ? "value" : metric, "mean",
                               "low", "high", "indistinguishable"});
  return header;
}

}  // namespace

std::string StudyTable(const v1::Study& study) {
  std::map<int32_t, int> places;  // By point.
  for (int i = 0; i < study.ranking_size(); ++i) places[study.ranking(i).point()] = i;
  std::string table = CsvLine(Header(study));
  for (const v1::Trial* trial : TrialsByRank(study)) {
    const auto place = places.find(trial->point());
    const bool ranked = place != places.end();
    const v1::RankedPoint point = ranked ? study.ranking(place->second) : v1::RankedPoint();
    const bool interval = point.values() > 1;
    std::vector<std::string> cells = {ranked ? absl::StrCat(place->second + 1) : "",
                                      absl::StrCat(trial->number()), absl::StrCat(trial->point())};
    for (const auto& [name, value] : ParametersOf(*trial)) cells.push_back(value);
    cells.insert(
        cells.end(),
        {absl::StrCat(trial->seed()), TrialStateName(trial->state()), absl::StrCat(trial->steps()),
         LastValue(*trial), ranked ? ExactNumber(point.mean()) : "",
         interval ? ExactNumber(point.low()) : "", interval ? ExactNumber(point.high()) : "",
         interval ? (point.indistinguishable() ? "true" : "false") : ""});
    table += CsvLine(cells);
  }
  return table;
}

}  // namespace graft
