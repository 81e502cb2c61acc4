#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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
  // Takes what is a metric or an evaluation, of a step the first; drops what a divergence undid;
  // leaves the rest. Codes of common/base/file.h: the file could not be written and is no longer
  // kept; the row counts all the same.
  absl::Status Add(const v1::JobEvent& event);
  // Writes the three files. Codes of common/base/file.h.
  absl::Status Write(const std::string& directory, const v1::FineTuneSpec& spec) const;

 private:
  // One that rows_ has.
  struct Evaluation {
    int64_t step = 0;
    bool is_best = false;
    size_t row = 0;
  };
  // Writes the file anew with what it has up to last_step, and returns that.
  absl::StatusOr<std::vector<v1::JobEvent>> CutFile(int64_t last_step);
  absl::Status GoBackTo(int64_t step);
  void AddRow(const v1::JobEvent& event);
  absl::Status Append(const v1::JobEvent& event);

  UniqueFd file_;  // None: not kept.
  std::string path_;
  std::vector<MetricRow> rows_;
  int64_t total_steps_ = 0;
  std::vector<Evaluation> evaluations_;
};

// The evaluation that was the best one so far, in a file that KeepIn keeps; none if there is none,
// or no file.
std::optional<v1::JobEvent> BestEvaluationIn(const std::string& path);

}  // namespace graft
