#include "worker/engine/evaluation/evaluation_time.h"

#include <algorithm>
#include <vector>

#include "common/base/status_macros.h"
#include "worker/engine/evaluation/summaries.h"
#include "worker/engine/gpt2/tensor_memory.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {
namespace {

constexpr size_t kSteps = 12;
constexpr size_t kTimedSteps = 8;  // The last ones: by then the prompts are read.

// Notes when it was asked, and says stop when that was often enough.
class NotingStop : public StopToken {
 public:
  NotingStop(StopToken& inner, Clock& clock) : inner_(inner), clock_(clock) {}

  absl::Status Poll() override {
    RETURN_IF_ERROR(inner_.Poll());
    inner_.pulse().Beat();
    times_.push_back(clock_.Boottime());
    return enough() ? absl::CancelledError("enough") : absl::OkStatus();
  }
  bool enough() const { return times_.size() > kSteps; }
  const std::vector<absl::Duration>& times() const { return times_; }

 private:
  StopToken& inner_;
  Clock& clock_;
  std::vector<absl::Duration> times_;
};

// So many rows of another source, evenly spaced.
class SomeRows : public ExampleSource {
 public:
  SomeRows(const ExampleSource& all, int64_t count) : all_(all), count_(count) {}
  int64_t size() const override { return count_; }
  Example Get(int64_t index) const override { return all_.Get(index * all_.size() / count_); }

 private:
  const ExampleSource& all_;
  const int64_t count_;
};

int64_t CountTokens(const ExampleSource& source) {
  int64_t tokens = 0;
  for (int64_t row = 0; row < source.size(); ++row) {
    tokens += static_cast<int64_t>(source.Get(row).ids.size());
  }
  return tokens;
}

class Measurement {
 public:
  Measurement(const Gpt2Network& network, const EvaluationSample& sample, StopToken& stop,
              Clock& clock)
      : network_(network), sample_(sample), stop_(stop), clock_(clock) {}

  absl::Status AddLoss() {
    const ExampleSource& all = *sample_.validation;
    const SomeRows some(all, std::min(all.size(), sample_.batch_size));
    ResetPeak(network_.device());
    const absl::Duration start = clock_.Boottime();
    RETURN_IF_ERROR(
        ComputeValidationLoss(network_, some, sample_.batch_size, stop_, {}, nullptr).status());
    time_.seconds += Since(start) * static_cast<double>(CountTokens(all)) /
                     static_cast<double>(CountTokens(some));
    time_.peak_bytes = TensorMemoryOf(network_.device()).peak_bytes;
    return absl::OkStatus();
  }

  // A text of n tokens has its prompt read and n - 1 steps, and asks before each.
  absl::Status AddTexts() {
    const SummaryOptions options = {sample_.tokenizer, sample_.data, sample_.evaluation, {}};
    const Gpt2Network* const networks[] = {&network_};
    NotingStop noting(stop_, clock_);
    ResetPeak(network_.device());
    const absl::Duration start = clock_.Boottime();
    const absl::Status made =
        Summarise(networks, options, sample_.rows, /*first_row=*/0, noting).status();
    double seconds = Since(start);
    if (!made.ok() && !noting.enough()) return made;
    if (!made.ok()) {
      const std::vector<absl::Duration>& times = noting.times();
      const double step =
          absl::ToDoubleSeconds(times.back() - times[times.size() - 1 - kTimedSteps]) / kTimedSteps;
      const auto asked = static_cast<double>(times.size());
      seconds += step * (static_cast<double>(sample_.evaluation.max_new_tokens) + 1 - asked);
    }
    time_.peak_bytes = std::max(time_.peak_bytes, TensorMemoryOf(network_.device()).peak_bytes);
    const double batches =
        static_cast<double>(sample_.num_texts) / static_cast<double>(sample_.rows.size());
    time_.seconds += seconds * batches;
    return absl::OkStatus();
  }

  const EvaluationTime& time() const { return time_; }

 private:
  double Since(absl::Duration start) const {
    return absl::ToDoubleSeconds(clock_.Boottime() - start);
  }

  const Gpt2Network& network_;
  const EvaluationSample& sample_;
  StopToken& stop_;
  Clock& clock_;
  EvaluationTime time_;
};

}  // namespace

absl::StatusOr<EvaluationTime> MeasureEvaluation(const Gpt2Network& network,
                                                 const EvaluationSample& sample, StopToken& stop,
                                                 Clock& clock) {
  Measurement measurement(network, sample, stop, clock);
  RETURN_IF_ERROR(measurement.AddLoss());
  if (!sample.rows.empty()) RETURN_IF_ERROR(measurement.AddTexts());
  return measurement.time();
}

}  // namespace graft
