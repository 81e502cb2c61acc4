#include "common/formats/metrics_jsonl.h"

#include <nlohmann/json.hpp>

namespace graft {

std::string MetricsJsonl(const std::vector<MetricRow>& rows) {
  std::string lines;
  for (const MetricRow& row : rows) AppendMetricsJsonl(row, lines);
  return lines;
}

void AppendMetricsJsonl(const MetricRow& row, std::string& out) {
  nlohmann::ordered_json object = {
      {"step", row.step}, {"epoch", row.epoch}, {"wall_time_seconds", row.wall_time_seconds}};
  for (const auto& [name, value] : row.values) object[name] = value;
  out += object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  out += '\n';
}

}  // namespace graft
