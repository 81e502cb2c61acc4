#pragma once

// How a watched job looks: a line that is redrawn on a terminal, plain lines elsewhere.

#include <deque>
#include <string>

#include "graft/v1/event.pb.h"
#include "graft/v1/job.pb.h"

namespace graft {

// A small curve of the values, oldest first, in `width` columns of ▁▂▃▄▅▆▇█ (means of equal shares;
// one value a column if there are fewer). Empty for fewer than two values.
std::string LossCurve(const std::deque<double>& values, size_t width);

// Turns the events of one job into what is printed. No input or output of its own.
class ProgressView {
 public:
  explicit ProgressView(std::string job) : job_(std::move(job)) {}

  // Takes the event in. Returns the lines that stay on the screen (each ends in '\n'); often none.
  // With `every_step`, steps are lines, too (at most one for `plain_interval_seconds` of the
  // events' own time).
  std::string Add(const v1::JobEvent& event, bool every_step);
  void Add(const v1::WatchJobResponse::Heartbeat& heartbeat);

  // The line that is redrawn: state or step, epoch, loss and its curve, learning rate, tokens/s,
  // time left. At most `width` columns.
  std::string Line(size_t width) const;

 private:
  std::string AddStateChange(const v1::StateChange& change);
  std::string AddEvaluation(const v1::EvaluationResult& evaluation);
  std::string AddStep(const v1::JobEvent& event, bool every_step);
  std::string StepText() const;

  static constexpr size_t kCurvePoints = 2000;
  static constexpr double kPlainIntervalSeconds = 2;

  const std::string job_;
  v1::JobState state_ = v1::JOB_STATE_UNSPECIFIED;
  v1::JobStage stage_ = v1::JOB_STAGE_UNSPECIFIED;
  bool announced_ = false;  // What this attempt trains or evaluates.
  bool trains_ = true;      // Not an evaluate job.
  int64_t queue_position_ = 0;
  v1::Metrics metrics_;
  double first_step_time_ = 0;  // Of this attempt, in seconds; for the time left.
  int64_t first_step_ = 0;
  double last_step_time_ = 0;
  double last_plain_time_ = 0;
  std::deque<double> losses_;
};

}  // namespace graft
