#include "client/cli/progress.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "client/cli/output.h"

namespace graft {
namespace {

constexpr size_t kCurveWidth = 16;

double SecondsOf(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + time.nanos() * 1e-9;
}

double ValueOf(const google::protobuf::Map<std::string, double>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

std::string StateText(v1::JobState state) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::JobState_Name(state), "JOB_STATE_"));
}

std::string StageText(v1::JobStage stage) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::JobStage_Name(stage), "JOB_STAGE_"));
}

}  // namespace

std::string LossCurve(const std::deque<double>& values, size_t width) {
  if (values.size() < 2) return "";
  const size_t columns = std::min(width, values.size());
  std::vector<double> means(columns, 0);
  for (size_t i = 0; i < columns; ++i) {
    const size_t begin = i * values.size() / columns;
    const size_t end = (i + 1) * values.size() / columns;
    for (size_t j = begin; j < end; ++j) means[i] += values[j] / static_cast<double>(end - begin);
  }
  const auto [low, high] = std::minmax_element(means.begin(), means.end());
  const double range = *high - *low;
  static const char* const kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string curve;
  for (const double mean : means) {
    const double height = range > 0 ? (mean - *low) / range * 7.999 : 0;
    curve += kBars[static_cast<size_t>(std::clamp(height, 0.0, 7.0))];
  }
  return curve;
}

std::string ProgressView::Add(const v1::JobEvent& event, bool every_step) {
  switch (event.payload_case()) {
    case v1::JobEvent::kStateChange:
      return AddStateChange(event.state_change());
    case v1::JobEvent::kStageChange: {
      stage_ = event.stage_change().stage();
      const auto& stage = event.stage_change();
      // An evaluation in the middle comes back to TRAINING, too: once for an attempt is enough.
      if (stage.total_parameters() == 0 || announced_) return "";
      announced_ = true;
      trains_ = stage.total_steps() > 0;
      if (!trains_) {
        return absl::StrFormat("%s: evaluating a model of %s parameters on %s in %s\n", job_,
                               FormatCount(stage.total_parameters()), stage.device(),
                               stage.precision());
      }
      return absl::StrFormat("%s: training %s of %s parameters on %s in %s, %d steps\n", job_,
                             FormatCount(stage.trainable_parameters()),
                             FormatCount(stage.total_parameters()), stage.device(),
                             stage.precision(), stage.total_steps());
    }
    case v1::JobEvent::kMetrics:
      return AddStep(event, every_step);
    case v1::JobEvent::kEvaluation:
      return AddEvaluation(event.evaluation());
    case v1::JobEvent::kCheckpoint:
      return "";
    case v1::JobEvent::kSamples: {
      std::string text;
      for (const auto& sample : event.samples().texts()) {
        absl::StrAppend(&text, "  row ", sample.row(),
                        " predicted: ", OneLine(sample.prediction(), 110),
                        "\n         expected: ", OneLine(sample.reference(), 110), "\n");
      }
      return text;
    }
    case v1::JobEvent::kWarning:
      return absl::StrCat(job_, ": warning: ", event.warning().text(), "\n");
    case v1::JobEvent::PAYLOAD_NOT_SET:
      return "";
  }
  return "";
}

void ProgressView::Add(const v1::WatchJobResponse::Heartbeat& heartbeat) {
  queue_position_ = heartbeat.queue_position();
  if (heartbeat.state() != v1::JOB_STATE_UNSPECIFIED) state_ = heartbeat.state();
}

std::string ProgressView::AddStateChange(const v1::StateChange& change) {
  state_ = change.to();
  stage_ = v1::JOB_STAGE_UNSPECIFIED;
  announced_ = false;
  first_step_ = 0;
  std::string text = absl::StrCat(job_, ": ", StateText(change.to()));
  if (!change.reason().empty()) absl::StrAppend(&text, " (", change.reason(), ")");
  if (change.error().code() != 0 && !absl::StrContains(change.reason(), change.error().message())) {
    absl::StrAppend(&text, ": ", change.error().message());
  }
  return text + "\n";
}

std::string ProgressView::AddEvaluation(const v1::EvaluationResult& evaluation) {
  std::string text = absl::StrCat(job_, ": evaluation");
  if (trains_) absl::StrAppend(&text, " at step ", evaluation.step());
  const double loss = ValueOf(evaluation.values(), "eval/loss");
  if (loss == loss) absl::StrAppendFormat(&text, ": loss %.4f", loss);
  for (const char* type : {"rouge1", "rouge2", "rougeL", "rougeLsum"}) {
    const double score = ValueOf(evaluation.values(), absl::StrCat("eval/", type));
    if (score == score) absl::StrAppendFormat(&text, "  %s %.3f", type, score);
  }
  if (trains_ && evaluation.is_best()) text += "  (best)";
  return text + "\n";
}

std::string ProgressView::StepText() const {
  std::string text = absl::StrFormat("step %d", metrics_.step());
  if (metrics_.total_steps() > 0) absl::StrAppendFormat(&text, "/%d", metrics_.total_steps());
  absl::StrAppendFormat(&text, "  epoch %.2f  loss %.4f", metrics_.epoch(),
                        ValueOf(metrics_.values(), "train/loss"));
  const double rate = ValueOf(metrics_.values(), "train/learning_rate");
  if (rate == rate) absl::StrAppendFormat(&text, "  lr %.1e", rate);
  const double speed = ValueOf(metrics_.values(), "train/tokens_per_second");
  if (speed == speed) {
    absl::StrAppend(&text, "  ", FormatCount(static_cast<int64_t>(speed)), " tok/s");
  }
  const int64_t done = metrics_.step() - first_step_;
  const int64_t left = metrics_.total_steps() - metrics_.step();
  if (done > 0 && left > 0) {
    const double seconds = (last_step_time_ - first_step_time_) / static_cast<double>(done);
    absl::StrAppend(&text, "  ETA ", FormatSeconds(seconds * static_cast<double>(left)));
  }
  return text;
}

std::string ProgressView::AddStep(const v1::JobEvent& event, bool every_step) {
  metrics_ = event.metrics();
  last_step_time_ = SecondsOf(event.create_time());
  if (first_step_ == 0) {
    first_step_ = metrics_.step();
    first_step_time_ = last_step_time_;
  }
  const double loss = ValueOf(metrics_.values(), "train/loss");
  if (loss == loss) losses_.push_back(loss);
  if (losses_.size() > kCurvePoints) losses_.pop_front();
  const bool last = metrics_.step() == metrics_.total_steps();
  if (!every_step || (last_step_time_ - last_plain_time_ < kPlainIntervalSeconds && !last))
    return "";
  last_plain_time_ = last_step_time_;
  return absl::StrCat(job_, ": ", StepText(), "\n");
}

std::string ProgressView::Line(size_t width) const {
  std::string text = job_ + "  ";
  if (state_ == v1::JOB_STATE_RUNNING && metrics_.step() > 0 && stage_ == v1::JOB_STAGE_TRAINING) {
    absl::StrAppend(&text, StepText(), "  ", LossCurve(losses_, kCurveWidth));
  } else if (state_ == v1::JOB_STATE_QUEUED && queue_position_ > 0) {
    absl::StrAppend(&text, "queued, place ", queue_position_);
  } else {
    absl::StrAppend(&text, StateText(state_));
    if (stage_ != v1::JOB_STAGE_UNSPECIFIED) absl::StrAppend(&text, ", ", StageText(stage_));
  }
  return OneLine(text, width);
}

}  // namespace graft
