#pragma once

#include <string>
#include <vector>

#include "common/formats/metric_row.h"

namespace graft {

// metrics.jsonl: one JSON object a line and row, with step, epoch, wall_time_seconds and then the
// metrics by name. A number that JSON cannot hold (NaN, infinity) is null.
std::string MetricsJsonl(const std::vector<MetricRow>& rows);

// One row's line of it, for logs that are not held in memory.
void AppendMetricsJsonl(const MetricRow& row, std::string& out);

}  // namespace graft
