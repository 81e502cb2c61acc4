#pragma once

// How a watched job looks: a line that is redrawn on a terminal, plain lines elsewhere.

#include <deque>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "graft/v1/event.pb.h"
#include "graft/v1/job.pb.h"

namespace graft {

// A worker says something every few seconds, and a server to a watcher at least every 15 s: who has
// been silent for so long may be lost.
inline constexpr double kSilenceSeconds = 20;

// "running", "evaluating".
std::string StateText(v1::JobState state);
std::string StageText(v1::JobStage stage);

// A small curve of the values, oldest first, in `width` columns of ▁▂▃▄▅▆▇█ (means of equal shares;
// one value a column if there are fewer). Empty for fewer than two values.
std::string LossCurve(const std::deque<double>& values, size_t width);

// Turns what a watch of one job sends into what is printed. No input or output of its own. `now` is
// of any clock that does not go back.
class ProgressView {
 public:
  struct Options {
    // Begins every line where several jobs are watched: "jobs/k3f9".
    std::string prefix;
    // No line is redrawn: steps, rows and silence are lines that stay, one at most for some
    // seconds.
    bool plain = false;
    // Curves may be drawn.
    bool utf8 = true;
  };
  explicit ProgressView(Options options) : options_(std::move(options)) {}

  // Takes the event in. Returns the lines that stay on the screen (each ends in '\n'); often none.
  // Sample texts are cut to `columns`.
  std::string Add(const v1::JobEvent& event, absl::Duration now, size_t columns);
  std::string Add(const v1::WatchJobResponse::Heartbeat& heartbeat, absl::Duration now);

  // The line that is redrawn, of at most `columns`; the less room, the more is left out on its
  // right:
  //   17/150 11%  ETA 3m30s  loss 3.119 ▃▆▃▅  444 tok/s
  //   100/150 66%  ETA 1m10s  evaluating 12/40 30%
  //   17/150 11%  no news for 40 s  loss 3.119
  //   queued, place 3  starts in 4m10s  the only worker that can do it is busy; 2 jobs go first
  std::string Line(size_t columns, absl::Duration now) const;

 private:
  std::string AddStateChange(const v1::StateChange& change);
  std::string AddStageChange(const v1::StageChange& change);
  std::string AddDivergence(const v1::Divergence& divergence, size_t columns);
  std::string AddEvaluation(const v1::EvaluationResult& evaluation);
  std::string AddStep(const v1::JobEvent& event, absl::Duration now);
  std::string StepText(absl::Duration now) const;
  // What was done of how much, how long it will take or nothing is heard, and the stage.
  std::vector<std::string> Parts(absl::Duration now) const;
  std::string TrainingLine(const std::vector<std::string>& parts, size_t columns,
                           absl::Duration now) const;
  // Why it waits, as a line that stays; empty: nothing new.
  std::string WaitsLine();
  std::string StartText(absl::Duration now) const;    // "starts in 4m10s"; empty when not known.
  std::string EtaText(absl::Duration now) const;      // "ETA 3m30s"; empty when not known.
  std::string SilenceText(absl::Duration now) const;  // "no news for 40 s"; empty: there is news.
  bool Active() const;
  // "jobs/k3f9: TEXT" or "TEXT", with a line end.
  std::string LineOf(const std::string& text) const;

  Options options_;
  v1::JobState state_ = v1::JOB_STATE_UNSPECIFIED;
  v1::JobStage stage_ = v1::JOB_STAGE_UNSPECIFIED;
  bool announced_ = false;  // What this attempt trains or evaluates.
  bool trains_ = true;      // Not an evaluate job.
  int64_t queue_position_ = 0;
  std::string waits_;       // While QUEUED: why.
  std::string told_waits_;  // The last that stays on the screen, without numbers.
  absl::Duration start_ = absl::ZeroDuration();  // When it should start; zero: not known.
  v1::Metrics metrics_;
  int64_t steps_done_ = 0, steps_total_ = 0;
  int64_t rows_done_ = 0, rows_total_ = 0;  // Of the evaluation that runs.
  std::deque<double> losses_;

  absl::Duration end_ = absl::ZeroDuration();  // When the job should be done; zero: not known.
  absl::Duration last_news_ = absl::InfiniteDuration();  // When the worker was last heard.
  double last_plain_step_ = 0;                           // Of the events' own time, in seconds.
  absl::Duration last_plain_rows_ = -absl::InfiniteDuration();
  bool silence_told_ = false;
};

}  // namespace graft
