#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/unique_fd.h"
#include "common/formats/metric_row.h"
#include "graft/v1/event.pb.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// The metrics of a job that runs without a server, kept to be written beside its result as a server
// writes them from its log: metrics.jsonl, trainer_state.json and TensorBoard's events.
class MetricLog {
 public:
  // Keeps the rows in the file `path` too, an event as JSON a line, and takes those in that an
  // earlier run left there up to `last_step`; later ones are dropped. So a run that is resumed from
  // the checkpoint of that step has all rows. Codes of common/base/file.h.
  absl::Status KeepIn(const std::string& path, int64_t last_step);
  // Takes what is a metric or an evaluation, of a step the first, leaves the rest. Codes of
  // common/base/file.h: the file could not be written and is no longer kept; the row counts all the
  // same.
  absl::Status Add(const v1::JobEvent& event);
  // Writes the three files. Codes of common/base/file.h.
  absl::Status Write(const std::string& directory, const v1::FineTuneSpec& spec) const;

 private:
  void AddRow(const v1::JobEvent& event);
  absl::Status Append(const v1::JobEvent& event);

  UniqueFd file_;  // None: not kept.
  std::string path_;
  std::vector<MetricRow> rows_;
  int64_t total_steps_ = 0;
  int64_t last_evaluation_ = 0;  // Its step; 0: none yet.
  int64_t best_step_ = 0;
  std::map<std::string, double> best_values_;
};

// The evaluation that was the best one so far, in a file that KeepIn keeps; none if there is none,
// or no file.
std::optional<v1::JobEvent> BestEvaluationIn(const std::string& path);

}  // namespace graft
