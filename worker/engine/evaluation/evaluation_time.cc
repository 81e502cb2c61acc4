#include "worker/engine/evaluation/evaluation_time.h"

#include <algorithm>
#include <span>

#include "common/base/status_macros.h"
#include "worker/engine/evaluation/summaries.h"
#include "worker/engine/gpt2/tensor_memory.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {
namespace {

constexpr int64_t kBatches = 2;
constexpr int64_t kNewTokens = 16;

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
    const SomeRows some(all, std::min(all.size(), kBatches * sample_.batch_size));
    ResetPeak(network_.device());
    const absl::Duration start = clock_.Boottime();
    RETURN_IF_ERROR(
        ComputeValidationLoss(network_, some, sample_.batch_size, stop_, {}, nullptr).status());
    time_.seconds += Since(start) * static_cast<double>(CountTokens(all)) /
                     static_cast<double>(CountTokens(some));
    time_.peak_bytes = TensorMemoryOf(network_.device()).peak_bytes;
    return absl::OkStatus();
  }

  absl::Status AddTexts() {
    const int64_t most = sample_.evaluation.max_new_tokens;
    ASSIGN_OR_RETURN(const Texts one, MakeTexts(1));
    ASSIGN_OR_RETURN(const Texts more, MakeTexts(std::min(most, 1 + kNewTokens)));
    double seconds = more.seconds, peak_bytes = more.peak_bytes;
    if (more.new_tokens > one.new_tokens) {
      const double rest = static_cast<double>(most - more.new_tokens) /
                          static_cast<double>(more.new_tokens - one.new_tokens);
      seconds += rest * std::max(0.0, more.seconds - one.seconds);
      peak_bytes += rest * std::max(0.0, more.peak_bytes - one.peak_bytes);
    }
    time_.peak_bytes = std::max(time_.peak_bytes, static_cast<int64_t>(peak_bytes));
    const double batches =
        static_cast<double>(sample_.num_texts) / static_cast<double>(sample_.rows.size());
    time_.seconds += seconds * batches;
    return absl::OkStatus();
  }

  const EvaluationTime& time() const { return time_; }

 private:
  struct Texts {
    double seconds = 0;
    double peak_bytes = 0;
    int64_t new_tokens = 0;  // Of the longest.
  };

  absl::StatusOr<Texts> MakeTexts(int64_t max_new_tokens) {
    SummaryOptions options;
    options.tokenizer = sample_.tokenizer;
    options.data = sample_.data;
    options.evaluation = sample_.evaluation;
    options.evaluation.max_new_tokens = max_new_tokens;
    const Gpt2Network* const networks[] = {&network_};
    Texts texts;
    ResetPeak(network_.device());
    const absl::Duration start = clock_.Boottime();
    ASSIGN_OR_RETURN(const auto made,
                     Summarise(networks, options, sample_.rows, /*first_row=*/0, stop_));
    texts.seconds = Since(start);
    texts.peak_bytes = static_cast<double>(TensorMemoryOf(network_.device()).peak_bytes);
    for (const Summary& summary : made[0]) {
      texts.new_tokens = std::max(texts.new_tokens, summary.new_tokens);
    }
    return texts;
  }

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
