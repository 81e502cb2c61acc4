#include "worker/engine/training/step_times.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "worker/engine/gpt2/tensor_memory.h"
#include "worker/engine/training/pass.h"
#include "worker/engine/training/schedule.h"
#include "worker/engine/training/trial.h"

namespace graft {
namespace {

// A mean over so many steps is one over all.
constexpr int64_t kMaxSteps = 2000;

// Tokens of a step on average, with pads and virtual ones.
double MeanTokensOfStep(const ExampleSource& train, const StepPlan& plan, int64_t batch_size,
                        uint64_t seed, int64_t num_prompt_rows) {
  const std::vector<int64_t> order = ShuffledRows(train.size(), seed, /*epoch=*/0);
  const int64_t steps = std::min({plan.total_steps, plan.steps_per_epoch, kMaxSteps});
  int64_t tokens = 0;
  for (int64_t step = 0; step < steps; ++step) {
    for (int64_t begin = plan.begin(step); begin < plan.end(step); begin += batch_size) {
      const int64_t end = std::min(begin + batch_size, plan.end(step));
      size_t longest = 0;
      for (int64_t i = begin; i < end; ++i) {
        longest = std::max(longest, train.Get(order[static_cast<size_t>(i)]).ids.size());
      }
      tokens += (end - begin) * (static_cast<int64_t>(longest) + num_prompt_rows);
    }
  }
  return static_cast<double>(tokens) / static_cast<double>(steps);
}

class Stopwatch {
 public:
  explicit Stopwatch(Clock& clock) : clock_(clock), start_(clock.Boottime()) {}
  absl::Duration elapsed() const { return clock_.Boottime() - start_; }

 private:
  Clock& clock_;
  const absl::Duration start_;
};

struct Work {
  double seconds = 0;
  int64_t tokens = 0;

  double seconds_per_token() const { return seconds / static_cast<double>(tokens); }
};

// The next micro-batch of the trial, with the update where it is a step's last.
absl::StatusOr<Work> DoMicroBatch(Trial& trial, int64_t num_prompt_rows, Clock& clock) {
  const Stopwatch watch(clock);
  std::vector<MicroBatch> batches;
  ASSIGN_OR_RETURN(MicroBatch next, trial.Next());
  Work work;
  work.tokens = next.batch.ids.size(0) * (next.batch.ids.size(1) + num_prompt_rows);
  batches.push_back(std::move(next));
  std::vector<size_t> order;
  const at::Tensor losses = LossesWithGradients(batches, order);
  RETURN_IF_ERROR(trial.Take(losses[0]));
  losses[0].item();  // A GPU has done it then.
  work.seconds = absl::ToDoubleSeconds(watch.elapsed());
  return work;
}

class Measurement {
 public:
  explicit Measurement(const TrialParts& parts)
      : parts_(parts),
        device_(parts.adapter.tensors()[0].tensor.device()),
        num_prompt_rows_(parts.adapter.Bind().num_prompt_rows()),
        watch_(parts.clock) {
    for (int64_t row = 0; row < parts.train.size(); ++row) {
      longest_ = std::max(longest_, static_cast<int64_t>(parts.train.Get(row).ids.size()));
    }
  }

  absl::StatusOr<StepTimes> Run(absl::Duration within) {
    const int64_t batch_size = std::min(parts_.options.config.batch_size, parts_.train.size());
    RETURN_IF_ERROR(TryLongest(1));
    if (batch_size > 1) {
      const double left = absl::ToDoubleSeconds(within - watch_.elapsed());
      const double fit = left / std::max(whole_.seconds, 1e-9);
      const int64_t rows =
          fit < static_cast<double>(batch_size) ? static_cast<int64_t>(fit) : batch_size;
      const absl::Status tried = rows > 1 ? TryLongest(rows) : absl::OkStatus();
      if (!absl::IsCancelled(tried)) RETURN_IF_ERROR(tried);
    }
    RETURN_IF_ERROR(DoSteps(within));
    return Times(batch_size);
  }

 private:
  struct Peak {
    int64_t rows = 0;
    int64_t bytes = 0;
  };

  // So many of the longest rows at once, or fewer, where memory ends.
  absl::Status TryLongest(int64_t rows) {
    TrainerOptions options = parts_.options;
    options.config.batch_size = rows;
    options.tries_longest_rows = true;
    options.on_micro_batch = [&](int64_t fewer, int64_t) { most_rows_ = rows = fewer; };
    Trial trial(
        {options, parts_.train, parts_.adapter, nullptr, parts_.sink, parts_.stop, parts_.clock});
    ResetPeak(device_);
    const Stopwatch watch(parts_.clock);
    RETURN_IF_ERROR(trial.Start());
    peaks_.push_back({rows, TensorMemoryOf(device_).peak_bytes});
    whole_ = {absl::ToDoubleSeconds(watch.elapsed()), rows * (longest_ + num_prompt_rows_)};
    return absl::OkStatus();
  }

  // While another micro-batch, which takes no longer than the longest rows did, fits.
  absl::Status DoSteps(absl::Duration within) {
    TrainerOptions options = parts_.options;
    options.config.batch_size = peaks_.back().rows;
    Trial trial(
        {options, parts_.train, parts_.adapter, nullptr, parts_.sink, parts_.stop, parts_.clock});
    const absl::Status started = trial.Start();
    if (absl::IsCancelled(started)) return absl::OkStatus();
    RETURN_IF_ERROR(started);
    while (!trial.Done() && watch_.elapsed() + absl::Seconds(whole_.seconds) <= within) {
      const absl::StatusOr<Work> work = DoMicroBatch(trial, num_prompt_rows_, parts_.clock);
      if (absl::IsCancelled(work.status())) break;
      RETURN_IF_ERROR(work.status());
      steps_.seconds += work->seconds;
      steps_.tokens += work->tokens;
    }
    return absl::OkStatus();
  }

  // With so many rows at once.
  int64_t PeakBytes(int64_t rows) const {
    const Peak& most = peaks_.back();
    if (most.rows >= rows) return most.bytes;
    // One row is told from what is there without any.
    const Peak least = peaks_.size() > 1 ? peaks_[0] : Peak{0, TensorMemoryOf(device_).used_bytes};
    return most.bytes + (most.bytes - least.bytes) * (rows - most.rows) / (most.rows - least.rows);
  }

  StepTimes Times(int64_t batch_size) const {
    const TrainingConfig& config = parts_.options.config;
    const StepPlan plan = MakeStepPlan(config, parts_.train.size());
    StepTimes times;
    times.batch_size = std::min(config.batch_size, most_rows_);
    const int64_t limit = TensorMemoryOf(device_).limit_bytes;
    int64_t rows = std::min(batch_size, most_rows_);
    while (limit > 0 && rows > 1 && PeakBytes(rows) > limit) {
      times.batch_size = rows = (rows + 1) / 2;  // As the run will do it.
    }
    times.peak_bytes = PeakBytes(rows);
    times.seconds_per_token = (steps_.tokens > 0 ? steps_ : whole_).seconds_per_token();
    times.step_seconds =
        times.seconds_per_token *
        MeanTokensOfStep(parts_.train, plan, times.batch_size, config.seed, num_prompt_rows_);
    times.total_steps = plan.total_steps;
    times.num_evaluations = plan.evaluations(config.eval_every_steps);
    times.micro_batches = plan.micro_batches(times.batch_size);
    return times;
  }

  const TrialParts& parts_;
  const at::Device device_;
  const int64_t num_prompt_rows_;
  const Stopwatch watch_;
  int64_t longest_ = 0;                                      // Of all rows, in tokens.
  int64_t most_rows_ = std::numeric_limits<int64_t>::max();  // That memory holds.
  std::vector<Peak> peaks_;  // Of one row, and of more where there was time.
  Work whole_;               // The longest rows, as many as were tried last.
  Work steps_;               // Micro-batches of the run.
};

}  // namespace

absl::StatusOr<StepTimes> MeasureSteps(const TrialParts& parts, absl::Duration within) {
  return Measurement(parts).Run(within);
}

}  // namespace graft
