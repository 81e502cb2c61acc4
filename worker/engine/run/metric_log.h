#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/formats/metric_row.h"
#include "graft/v1/event.pb.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// The metrics of a job that runs without a server, kept to be written beside its result as a server
// writes them from its log: metrics.jsonl, trainer_state.json and TensorBoard's events.
class MetricLog {
 public:
  // Takes what is a metric or an evaluation, leaves the rest.
  void Add(const v1::JobEvent& event);
  // Writes the three files. Codes of common/base/file.h.
  absl::Status Write(const std::string& directory, const v1::FineTuneSpec& spec) const;

 private:
  std::vector<MetricRow> rows_;
  int64_t total_steps_ = 0;
  int64_t best_step_ = 0;
  std::map<std::string, double> best_values_;
};

}  // namespace graft
