#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace graft {

// The metrics of one moment of a job, as its event log holds them: those of an optimiser step, or
// of an evaluation.
struct MetricRow {
  int64_t step = 0;
  double epoch = 0;                      // passes over the data
  double wall_time_seconds = 0;          // Unix time
  std::map<std::string, double> values;  // "train/loss", "eval/rougeL" …
};

}  // namespace graft
