#include "worker/engine/training/step_times.h"

#include <algorithm>
#include <vector>

#include "tests/worker/engine/metronome.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"
#include "worker/engine/training/trial.h"

namespace graft {
namespace {

// Rows of these lengths.
class RowsOf : public ExampleSource {
 public:
  explicit RowsOf(const std::vector<int>& lengths) {
    for (const int length : lengths) {
      std::vector<int32_t>& ids = rows_.emplace_back();
      for (int t = 0; t < length; ++t) ids.push_back((7 * t + length) % 48);
    }
  }
  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  Example Get(int64_t index) const override { return {rows_[index], 1}; }

 private:
  std::vector<std::vector<int32_t>> rows_;
};

class StepTimesTest : public ::testing::Test {
 protected:
  absl::StatusOr<StepTimes> Measure(const std::vector<int>& lengths, absl::Duration within,
                                    int64_t stop_after = 1 << 20) {
    const RowsOf rows(lengths);
    Metronome stop(clock_, stop_after);
    return MeasureSteps({options_, rows, *adapter_, nullptr, sink_, stop, clock_}, within);
  }

  FakeClock clock_;
  RecordingSink sink_;
  TrainerOptions options_ = SmallOptions();  // Two rows at a time, three epochs.
  const std::unique_ptr<Gpt2Model> model_ = GoldenModel(at::kFloat);
  std::unique_ptr<AdapterSet> adapter_ = MakeAdapter(*model_, OnlyLora());
};

TEST_F(StepTimesTest, AStepTakesWhatItsMicroBatchesTake) {
  options_.config.gradient_accumulation_steps = 3;
  options_.config.eval_every_steps = 2;
  const absl::StatusOr<StepTimes> times = Measure(std::vector<int>(12, 6), absl::Seconds(4));
  ASSERT_TRUE(times.ok()) << times.status();
  EXPECT_DOUBLE_EQ(times->step_seconds, 3);
  EXPECT_EQ(times->total_steps, 6);
  EXPECT_EQ(times->num_evaluations, 3);
  EXPECT_EQ(times->batch_size, 2);
  EXPECT_EQ(times->micro_batches, 3);
}

TEST_F(StepTimesTest, RowsThatComeLaterAreReckonedByTheirTokens) {
  // However short the time, one micro-batch is timed after the first; the run has all.
  const std::vector<int> lengths = {4, 18, 4, 12, 6, 4, 20, 8};
  const absl::StatusOr<StepTimes> times = Measure(lengths, absl::ZeroDuration());
  ASSERT_TRUE(times.ok()) << times.status();
  const std::vector<int64_t> order = ShuffledRows(8, options_.config.seed, 0);
  std::vector<double> tokens;  // Of each micro-batch, which is a step here, with pads.
  for (size_t i = 0; i < order.size(); i += 2) {
    tokens.push_back(2.0 * std::max(lengths[order[i]], lengths[order[i + 1]]));
  }
  const double mean = (tokens[0] + tokens[1] + tokens[2] + tokens[3]) / 4;
  EXPECT_NE(mean, tokens[1]);
  EXPECT_NEAR(times->step_seconds, mean / tokens[1], 1e-9);
}

TEST_F(StepTimesTest, VirtualTokensCount) {
  MethodConfig method;
  method.Set(SoftPromptConfig{.num_virtual_tokens = 3});
  adapter_ = MakeAdapter(*model_, method);
  const std::vector<int> lengths = {4, 18, 4, 12};
  const absl::StatusOr<StepTimes> times = Measure(lengths, absl::ZeroDuration());
  ASSERT_TRUE(times.ok()) << times.status();
  const std::vector<int64_t> order = ShuffledRows(4, options_.config.seed, 0);
  const double first = 3 + std::max(lengths[order[0]], lengths[order[1]]);
  const double second = 3 + std::max(lengths[order[2]], lengths[order[3]]);
  EXPECT_NEAR(times->step_seconds, (first + second) / 2 / second, 1e-9);
}

TEST_F(StepTimesTest, WhatIsStoppedTellsWhatItHasSeen) {
  EXPECT_EQ(Measure({6, 6, 6, 6}, absl::Seconds(9), /*stop_after=*/0).status().code(),
            absl::StatusCode::kCancelled);
  // One for the longest rows, one for the first micro-batch.
  const absl::StatusOr<StepTimes> one = Measure({6, 6, 6, 6}, absl::Seconds(9), /*stop_after=*/2);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_DOUBLE_EQ(one->step_seconds, 1);
}

}  // namespace
}  // namespace graft
