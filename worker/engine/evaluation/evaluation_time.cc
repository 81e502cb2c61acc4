#include "worker/engine/evaluation/evaluation_time.h"

#include <algorithm>
#include <span>
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

// What texts that are made at once take.
struct TextTimes {
  double prompts = 0;  // Until each has its first token.
  double steps = 0;    // All further ones.
};

class Measurement {
 public:
  Measurement(const Gpt2Network& network, const EvaluationSample& sample, StopToken& stop,
              Clock& clock)
      : network_(network), sample_(sample), stop_(stop), clock_(clock) {}

  absl::Status AddLoss() {
    const ExampleSource& all = *sample_.validation;
    const SomeRows some(all, std::min({all.size(), sample_.batch_size, sample_.num_loss_rows}));
    const int64_t used = BeginPeak();
    const absl::Duration start = clock_.Boottime();
    RETURN_IF_ERROR(
        ComputeValidationLoss(network_, some, sample_.batch_size, stop_, {}, nullptr).status());
    time_.seconds += Since(start) * static_cast<double>(CountTokens(all)) /
                     static_cast<double>(CountTokens(some));
    AddPeak(used, some.size(), std::min(all.size(), sample_.batch_size));
    return absl::OkStatus();
  }

  absl::Status AddTexts() {
    const auto some = static_cast<int64_t>(sample_.rows.size());
    const int64_t batch = std::min(sample_.num_texts, sample_.evaluation.generation_batch_size);
    const int64_t used = BeginPeak();
    ASSIGN_OR_RETURN(TextTimes times, TimeTexts(some));
    AddPeak(used, some, batch);
    if (some > 1 && some < batch) {
      ASSIGN_OR_RETURN(const TextTimes one, TimeTexts(1));
      const double slower = std::max(0.0, times.steps - one.steps) / static_cast<double>(some - 1);
      times.steps += slower * static_cast<double>(batch - some);
    }
    const auto texts = static_cast<double>(sample_.num_texts);
    time_.seconds += times.prompts * texts / static_cast<double>(some) +
                     times.steps * texts / static_cast<double>(batch);
    return absl::OkStatus();
  }

  const EvaluationTime& time() const { return time_; }

 private:
  // The first texts. A text of n tokens has its prompt read and n - 1 steps, and asks before each.
  absl::StatusOr<TextTimes> TimeTexts(int64_t count) {
    const SummaryOptions options = {sample_.tokenizer, sample_.data, sample_.evaluation, {}};
    const Gpt2Network* const networks[] = {&network_};
    NotingStop noting(stop_, clock_);
    const absl::Duration start = clock_.Boottime();
    const absl::Status made =
        Summarise(networks, options, std::span(sample_.rows).first(static_cast<size_t>(count)),
                  /*first_row=*/0, noting)
            .status();
    if (!made.ok() && !noting.enough()) return made;
    const std::vector<absl::Duration>& asked = noting.times();
    TextTimes times;
    times.prompts = asked.size() > 1 ? absl::ToDoubleSeconds(asked[1] - start) : Since(start);
    if (made.ok()) {
      times.steps = Since(start) - times.prompts;
    } else {
      const double step =
          absl::ToDoubleSeconds(asked.back() - asked[asked.size() - 1 - kTimedSteps]) / kTimedSteps;
      times.steps = step * static_cast<double>(sample_.evaluation.max_new_tokens - 1);
    }
    return times;
  }

  double Since(absl::Duration start) const {
    return absl::ToDoubleSeconds(clock_.Boottime() - start);
  }

  // What is there before.
  int64_t BeginPeak() const {
    ResetPeak(network_.device());
    return TensorMemoryOf(network_.device()).used_bytes;
  }
  // Of so many rows, where there will be more.
  void AddPeak(int64_t used, int64_t some, int64_t all) {
    const int64_t more = TensorMemoryOf(network_.device()).peak_bytes - used;
    time_.peak_bytes = std::max(time_.peak_bytes, used + more * all / some);
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
