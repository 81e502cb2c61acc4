#include "client/cli/progress.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "client/cli/output.h"
#include "common/jobs/job_state.h"

namespace graft {
namespace {

constexpr size_t kCurvePoints = 2000;  // Kept.
constexpr size_t kMaxCurveWidth = 16;
constexpr size_t kMinCurveWidth = 4;  // Beside the speed; without it, two will do.
constexpr double kPlainStepSeconds = 2;
constexpr absl::Duration kPlainRowsInterval = absl::Seconds(10);
constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();
constexpr size_t kSampleMargin = 21;  // Before a sample's text.
constexpr size_t kMinSampleWidth = 20;
constexpr size_t kMaxSampleWidth = 110;

double SecondsOf(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + time.nanos() * 1e-9;
}

double ValueOf(const google::protobuf::Map<std::string, double>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

// "17/150 11%"
std::string CountText(int64_t done, int64_t total) {
  return absl::StrFormat("%d/%d %d%%", done, total, 100 * done / total);
}

std::string SpeedText(double tokens_per_second) {
  return absl::StrCat(FormatCount(static_cast<int64_t>(tokens_per_second)), " tok/s");
}

// As many of the parts as there is room for, from the left.
std::string Join(const std::vector<std::string>& parts, size_t columns) {
  std::string text = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    if (DisplayWidth(text) + 2 + DisplayWidth(parts[i]) > columns) break;
    absl::StrAppend(&text, "  ", parts[i]);
  }
  return OneLine(text, columns);
}

// What became of the step, and why.
std::string DivergenceText(const v1::Divergence& divergence) {
  std::string text =
      absl::StrFormat("step %d diverged (loss %g, gradient norm %g): ", divergence.step(),
                      divergence.loss(), divergence.grad_norm());
  const bool has_rows = !divergence.rows().empty();
  switch (divergence.action()) {
    case v1::DIVERGENCE_ACTION_ROLLED_BACK:
      absl::StrAppend(&text, "goes back to ",
                      divergence.rolled_back_to_step() > 0
                          ? absl::StrCat("step ", divergence.rolled_back_to_step())
                          : "the beginning",
                      " and on without these rows");
      break;
    case v1::DIVERGENCE_ACTION_SKIPPED:
      absl::StrAppend(&text, "its update is skipped");
      break;
    default:
      absl::StrAppend(&text, "the job stops");
  }
  return absl::StrCat(text, has_rows ? "" : "; each of its rows is finite by itself");
}

std::string DivergentRowLines(const v1::Divergence& divergence, size_t columns) {
  std::string lines;
  for (const v1::Divergence::Row& row : divergence.rows()) {
    std::string text = absl::StrCat("  line ", row.line());
    if (!row.id().empty()) absl::StrAppend(&text, "  id ", row.id());
    absl::StrAppendFormat(&text, "  loss %g  gradient norm %g  %s", row.loss(), row.grad_norm(),
                          row.source());
    absl::StrAppend(&lines, OneLine(text, columns), "\n");
  }
  return lines;
}

std::string SampleLines(const v1::SampleTexts& samples, size_t columns) {
  const size_t width =
      std::clamp(columns - std::min(columns, kSampleMargin), kMinSampleWidth, kMaxSampleWidth);
  std::string text;
  if (!samples.adapter().empty()) {
    absl::StrAppend(&text, OneLine(absl::StrCat("  by ", samples.adapter()), columns), "\n");
  }
  for (const v1::SampleText& sample : samples.texts()) {
    absl::StrAppend(&text, absl::StrFormat("  row %-3d predicted: ", sample.row()),
                    OneLine(sample.prediction(), width),
                    "\n           expected: ", OneLine(sample.reference(), width), "\n");
  }
  return text;
}

}  // namespace

std::string StateText(v1::JobState state) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::JobState_Name(state), "JOB_STATE_"));
}

std::string StageText(v1::JobStage stage) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::JobStage_Name(stage), "JOB_STAGE_"));
}

std::string LossCurve(const std::deque<double>& values, size_t width) {
  if (values.size() < 2 || width == 0) return "";
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

std::string ProgressView::LineOf(const std::string& text) const {
  return absl::StrCat(options_.prefix, options_.prefix.empty() ? "" : ": ", text, "\n");
}

std::string ProgressView::Add(const v1::JobEvent& event, absl::Duration now, size_t columns) {
  switch (event.payload_case()) {
    case v1::JobEvent::kStateChange:
      return AddStateChange(event.state_change());
    case v1::JobEvent::kStageChange:
      return AddStageChange(event.stage_change());
    case v1::JobEvent::kMetrics:
      return AddStep(event, now);
    case v1::JobEvent::kEvaluation:
      return AddEvaluation(event.evaluation());
    case v1::JobEvent::kSamples:
      return SampleLines(event.samples(), columns);
    case v1::JobEvent::kDivergence:
      return AddDivergence(event.divergence(), columns);
    case v1::JobEvent::kWarning:
      return LineOf(absl::StrCat("warning: ", event.warning().text()));
    case v1::JobEvent::kCheckpoint:
    case v1::JobEvent::PAYLOAD_NOT_SET:
      return "";
  }
  return "";
}

std::string ProgressView::Add(const v1::WatchJobResponse::Heartbeat& heartbeat,
                              absl::Duration now) {
  queue_position_ = heartbeat.queue_position();
  if (heartbeat.state() != v1::JOB_STATE_UNSPECIFIED) state_ = heartbeat.state();
  if (heartbeat.stage() != v1::JOB_STAGE_UNSPECIFIED) stage_ = heartbeat.stage();
  if (heartbeat.stage() == v1::JOB_STAGE_TRAINING) {  // The events may be ahead of it.
    steps_done_ = std::max(steps_done_, heartbeat.stage_done());
    steps_total_ = std::max(steps_total_, heartbeat.stage_total());
  } else if (heartbeat.stage() == v1::JOB_STAGE_EVALUATING) {
    rows_done_ = heartbeat.stage_done();
    rows_total_ = heartbeat.stage_total();
  }
  const double eta = heartbeat.eta_seconds();
  end_ = eta > 0 ? now + absl::Seconds(eta) : absl::ZeroDuration();
  last_news_ = now - absl::Seconds(heartbeat.worker_silent_seconds());
  waits_ = heartbeat.waits();
  start_ = heartbeat.has_expected_start_seconds()
               ? now + absl::Seconds(heartbeat.expected_start_seconds())
               : absl::ZeroDuration();
  if (options_.plain && state_ == v1::JOB_STATE_QUEUED) return WaitsLine();
  if (!options_.plain || !Active()) return "";
  if (const std::string silence = SilenceText(now); !silence.empty()) {
    return std::exchange(silence_told_, true) ? "" : LineOf(silence);
  }
  silence_told_ = false;
  if (rows_total_ == 0 || now - last_plain_rows_ < kPlainRowsInterval) return "";
  last_plain_rows_ = now;
  return LineOf(Join(Parts(now), kUnlimited));
}

// Numbers come down all the time: they are no news.
std::string ProgressView::WaitsLine() {
  std::string without_numbers = waits_;
  std::erase_if(without_numbers, absl::ascii_isdigit);
  if (without_numbers.empty() || without_numbers == told_waits_) return "";
  told_waits_ = without_numbers;
  return LineOf(absl::StrCat("waits: ", waits_));
}

std::string ProgressView::AddStateChange(const v1::StateChange& change) {
  state_ = change.to();
  stage_ = v1::JOB_STAGE_UNSPECIFIED;
  announced_ = false;
  steps_done_ = steps_total_ = rows_done_ = rows_total_ = 0;
  end_ = start_ = absl::ZeroDuration();
  waits_.clear();
  told_waits_.clear();
  last_news_ = absl::InfiniteDuration();
  std::string text = StateText(change.to());
  if (!change.reason().empty()) absl::StrAppend(&text, " (", change.reason(), ")");
  if (change.error().code() != 0 && !absl::StrContains(change.reason(), change.error().message())) {
    absl::StrAppend(&text, ": ", change.error().message());
  }
  if (change.to() == v1::JOB_STATE_PAUSED) text += "; graft resume lets it go on";
  return LineOf(text);
}

std::string ProgressView::AddStageChange(const v1::StageChange& change) {
  stage_ = change.stage();
  rows_done_ = rows_total_ = 0;
  steps_total_ = std::max(steps_total_, change.total_steps());
  // An evaluation in the middle comes back to TRAINING, too: once for an attempt is enough.
  if (change.total_parameters() == 0 || announced_) return "";
  announced_ = true;
  trains_ = change.total_steps() > 0;
  if (!trains_) {
    return LineOf(absl::StrFormat("evaluating a model of %s parameters on %s in %s",
                                  FormatCount(change.total_parameters()), change.device(),
                                  change.precision()));
  }
  std::string text = absl::StrFormat("training %s of %s parameters on %s in %s, %d steps",
                                     FormatCount(change.trainable_parameters()),
                                     FormatCount(change.total_parameters()), change.device(),
                                     change.precision(), change.total_steps());
  if (change.batch_size() > 0) {  // Of a run that resumes; the halving itself is a warning.
    absl::StrAppendFormat(&text, " of %d micro-batches of %d rows, as memory holds",
                          change.gradient_accumulation_steps(), change.batch_size());
  }
  return LineOf(text);
}

std::string ProgressView::AddDivergence(const v1::Divergence& divergence, size_t columns) {
  if (divergence.action() == v1::DIVERGENCE_ACTION_ROLLED_BACK) {
    steps_done_ = divergence.rolled_back_to_step();
  }
  return LineOf(DivergenceText(divergence)) + DivergentRowLines(divergence, columns);
}

std::string ProgressView::AddEvaluation(const v1::EvaluationResult& evaluation) {
  std::string text = "evaluation";
  if (!evaluation.adapter().empty()) absl::StrAppend(&text, " of ", evaluation.adapter());
  if (trains_) absl::StrAppend(&text, " at step ", evaluation.step());
  const double loss = ValueOf(evaluation.values(), "eval/loss");
  if (loss == loss) absl::StrAppendFormat(&text, ": loss %.4f", loss);
  for (const char* type : {"rouge1", "rouge2", "rougeL", "rougeLsum"}) {
    const double score = ValueOf(evaluation.values(), absl::StrCat("eval/", type));
    if (score == score) absl::StrAppendFormat(&text, "  %s %.3f", type, score);
  }
  if (trains_ && evaluation.is_best()) text += "  (best)";
  return LineOf(text);
}

std::string ProgressView::StepText(absl::Duration now) const {
  std::string text = absl::StrFormat("step %d", metrics_.step());
  if (metrics_.total_steps() > 0) absl::StrAppendFormat(&text, "/%d", metrics_.total_steps());
  absl::StrAppendFormat(&text, "  epoch %.2f  loss %.4f", metrics_.epoch(),
                        ValueOf(metrics_.values(), "train/loss"));
  const double rate = ValueOf(metrics_.values(), "train/learning_rate");
  if (rate == rate) absl::StrAppendFormat(&text, "  lr %.1e", rate);
  const double speed = ValueOf(metrics_.values(), "train/tokens_per_second");
  if (speed == speed) absl::StrAppend(&text, "  ", SpeedText(speed));
  const std::string eta = EtaText(now);
  return absl::StrCat(text, eta.empty() ? "" : "  ", eta);
}

std::string ProgressView::AddStep(const v1::JobEvent& event, absl::Duration now) {
  metrics_ = event.metrics();
  steps_done_ = metrics_.step();
  steps_total_ = metrics_.total_steps();
  const double loss = ValueOf(metrics_.values(), "train/loss");
  if (loss == loss) losses_.push_back(loss);
  if (losses_.size() > kCurvePoints) losses_.pop_front();
  const double time = SecondsOf(event.create_time());
  const bool last = metrics_.step() == metrics_.total_steps();
  if (!options_.plain || (time - last_plain_step_ < kPlainStepSeconds && !last)) return "";
  last_plain_step_ = time;
  return LineOf(StepText(now));
}

bool ProgressView::Active() const { return IsHeld(state_); }

std::string ProgressView::EtaText(absl::Duration now) const {
  const double left = absl::ToDoubleSeconds(end_ - now);
  if (end_ == absl::ZeroDuration() || left < 1) return "";
  return left < 60 ? absl::StrFormat("ETA %.0fs", left) : absl::StrCat("ETA ", FormatSeconds(left));
}

std::string ProgressView::SilenceText(absl::Duration now) const {
  const absl::Duration silent = now - last_news_;
  if (silent < absl::Seconds(kSilenceSeconds)) return "";
  if (silent >= absl::Minutes(2)) {
    return absl::StrCat("no news for ", FormatSeconds(absl::ToDoubleSeconds(silent)));
  }
  return absl::StrCat("no news for ", absl::ToInt64Seconds(silent), " s");
}

std::string ProgressView::StartText(absl::Duration now) const {
  if (start_ <= now) return "";
  return absl::StrCat("starts in ", FormatSeconds(absl::ToDoubleSeconds(start_ - now)));
}

std::vector<std::string> ProgressView::Parts(absl::Duration now) const {
  std::vector<std::string> parts;
  const bool evaluates = stage_ == v1::JOB_STAGE_EVALUATING;
  const std::string rows =
      evaluates && rows_total_ > 0 ? CountText(rows_done_, rows_total_) : std::string();
  const bool has_steps = steps_total_ > 0 && stage_ != v1::JOB_STAGE_LOADING;
  if (has_steps) parts.push_back(CountText(steps_done_, steps_total_));
  if (!has_steps && !rows.empty()) parts.push_back(rows);
  std::string last = state_ == v1::JOB_STATE_UNSPECIFIED ? "connecting" : StateText(state_);
  if (state_ == v1::JOB_STATE_QUEUED && queue_position_ > 0) {
    last = absl::StrCat("queued, place ", queue_position_);
  } else if (state_ == v1::JOB_STATE_RUNNING && stage_ != v1::JOB_STAGE_UNSPECIFIED) {
    last = StageText(stage_);
    if (has_steps && !rows.empty()) absl::StrAppend(&last, " ", rows);
  }
  if (parts.empty()) parts.push_back(std::exchange(last, ""));
  const std::string silence = SilenceText(now);
  const std::string time = silence.empty() ? EtaText(now) : silence;
  if (!time.empty()) parts.push_back(time);
  if (!last.empty()) parts.push_back(last);
  if (state_ == v1::JOB_STATE_QUEUED) {
    if (const std::string start = StartText(now); !start.empty()) parts.push_back(start);
    if (!waits_.empty()) parts.push_back(waits_);
  }
  return parts;
}

std::string ProgressView::TrainingLine(const std::vector<std::string>& parts, size_t columns,
                                       absl::Duration now) const {
  const std::string text = Join(parts, columns);
  if (text != Join(parts, kUnlimited)) return text;  // Something was left out already.
  const size_t room = columns - DisplayWidth(text);
  const double speed = ValueOf(metrics_.values(), "train/tokens_per_second");
  // What a silent worker does now, nobody knows.
  const bool shows_speed = speed == speed && SilenceText(now).empty();
  const std::string right = shows_speed ? absl::StrCat("  ", SpeedText(speed)) : "";
  const bool curve = options_.utf8 && losses_.size() > 1;
  const size_t least = curve ? 1 + std::min(kMinCurveWidth, losses_.size()) : 0;
  const size_t beside = room >= least + right.size() ? right.size() : 0;
  const size_t width = room - beside < 3 ? 0 : std::min(kMaxCurveWidth, room - beside - 1);
  return absl::StrCat(text, curve && width > 0 ? " " : "", curve ? LossCurve(losses_, width) : "",
                      beside > 0 ? right : "");
}

std::string ProgressView::Line(size_t columns, absl::Duration now) const {
  std::vector<std::string> parts = Parts(now);
  const double loss = ValueOf(metrics_.values(), "train/loss");
  const bool trains =
      state_ == v1::JOB_STATE_RUNNING && stage_ == v1::JOB_STAGE_TRAINING && loss == loss;
  if (trains && steps_total_ > 0) parts.back() = absl::StrFormat("loss %#.4g", loss);
  if (!options_.prefix.empty()) parts[0] = absl::StrCat(options_.prefix, "  ", parts[0]);
  if (state_ == v1::JOB_STATE_QUEUED) return OneLine(Join(parts, kUnlimited), columns);
  return trains ? TrainingLine(parts, columns, now) : Join(parts, columns);
}

}  // namespace graft
