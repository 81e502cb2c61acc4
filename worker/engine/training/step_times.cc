#include "worker/engine/training/step_times.h"

#include <algorithm>
#include <vector>

#include "common/base/status_macros.h"
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
  int64_t prompt_rows = 0;

  bool empty() const { return tokens == 0; }
  double seconds_per_token() const { return seconds / static_cast<double>(tokens); }
};

// The next micro-batch of the trial, with the update where it is a step's last.
absl::StatusOr<Work> DoMicroBatch(Trial& trial, Clock& clock) {
  const Stopwatch watch(clock);
  std::vector<MicroBatch> batches;
  ASSIGN_OR_RETURN(MicroBatch next, trial.Next());
  Work work;
  work.prompt_rows = next.network->num_prompt_rows();
  work.tokens = next.batch.ids.size(0) * (next.batch.ids.size(1) + work.prompt_rows);
  batches.push_back(std::move(next));
  std::vector<size_t> order;
  const at::Tensor losses = LossesWithGradients(batches, order);
  RETURN_IF_ERROR(trial.Take(losses[0]));
  losses[0].item();  // A GPU has done it then.
  work.seconds = absl::ToDoubleSeconds(watch.elapsed());
  return work;
}

}  // namespace

absl::StatusOr<StepTimes> MeasureSteps(const TrialParts& parts, absl::Duration within) {
  const TrainingConfig& config = parts.options.config;
  int64_t batch_size = config.batch_size;
  TrainerOptions options = parts.options;
  options.tries_longest_rows = true;
  options.on_micro_batch = [&](int64_t rows, int64_t) { batch_size = rows; };
  Trial trial({options, parts.train, parts.adapter, nullptr, parts.sink, parts.stop, parts.clock});
  const Stopwatch watch(parts.clock);
  RETURN_IF_ERROR(trial.Start());
  Work first, others;
  while (!trial.Done() && (others.empty() || watch.elapsed() < within)) {
    const absl::StatusOr<Work> work = DoMicroBatch(trial, parts.clock);
    if (absl::IsCancelled(work.status()) && !first.empty()) break;
    RETURN_IF_ERROR(work.status());
    Work& counts = first.empty() ? first : others;
    counts.seconds += work->seconds;
    counts.tokens += work->tokens;
    counts.prompt_rows = work->prompt_rows;
  }
  const StepPlan plan = MakeStepPlan(config, parts.train.size());
  const Work& measured = others.empty() ? first : others;
  StepTimes times;
  times.step_seconds =
      measured.seconds_per_token() *
      MeanTokensOfStep(parts.train, plan, batch_size, config.seed, measured.prompt_rows);
  times.total_steps = plan.total_steps;
  times.num_evaluations = plan.evaluations(config.eval_every_steps);
  times.batch_size = batch_size;
  times.micro_batches = plan.micro_batches(batch_size);
  return times;
}

}  // namespace graft
