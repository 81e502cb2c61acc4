#include "worker/engine/training/step_times.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/worker/engine/metronome.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"
#include "worker/engine/gpt2/tensor_limit.h"
#include "worker/engine/gpt2/tensor_memory.h"
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
  const std::vector<int> lengths = {4, 18, 4, 12, 6, 4, 20, 8};
  const std::vector<int64_t> order = ShuffledRows(8, options_.config.seed, 0);
  std::vector<double> tokens;  // Of each micro-batch, which is a step here, with pads.
  for (size_t i = 0; i < order.size(); i += 2) {
    tokens.push_back(2.0 * std::max(lengths[order[i]], lengths[order[i + 1]]));
  }
  const double mean = (tokens[0] + tokens[1] + tokens[2] + tokens[3]) / 4;
  // However short the time, the longest row is timed; with more time the run's own micro-batches.
  const absl::StatusOr<StepTimes> by_longest = Measure(lengths, absl::ZeroDuration());
  ASSERT_TRUE(by_longest.ok()) << by_longest.status();
  EXPECT_NEAR(by_longest->step_seconds, mean / 20, 1e-9);
  const absl::StatusOr<StepTimes> by_two = Measure(lengths, absl::Seconds(4));
  ASSERT_TRUE(by_two.ok()) << by_two.status();
  EXPECT_NE(tokens[0], tokens[1]);
  EXPECT_NEAR(by_two->step_seconds, mean * 2 / (tokens[0] + tokens[1]), 1e-9);
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
  EXPECT_NEAR(times->step_seconds, 2 * (first + second) / 2 / (18 + 3), 1e-9);
}

TEST_F(StepTimesTest, WhatIsStoppedTellsWhatItHasSeen) {
  EXPECT_EQ(Measure({6, 6, 6, 6}, absl::Seconds(9), /*stop_after=*/0).status().code(),
            absl::StatusCode::kCancelled);
  // One for the longest row, one for the longest rows, one for the first micro-batch.
  for (const auto& [polls, step_seconds] : {std::pair{1, 2.0}, {2, 1.0}, {3, 1.0}}) {
    const absl::StatusOr<StepTimes> times = Measure({6, 6, 6, 6}, absl::Seconds(9), polls);
    ASSERT_TRUE(times.ok()) << times.status();
    EXPECT_DOUBLE_EQ(times->step_seconds, step_seconds);
  }
}

TEST_F(StepTimesTest, MemoryForWhichThereIsNoTimeFollowsFromFewerRows) {
  CountCpuTensors();
  options_.config.batch_size = 16;
  const std::vector<int> lengths(16, 24);
  const absl::StatusOr<StepTimes> whole = Measure(lengths, absl::Hours(1));
  ASSERT_TRUE(whole.ok()) << whole.status();
  const int64_t used = TensorMemoryOf(at::kCPU).used_bytes;
  const auto more = static_cast<double>(whole->peak_bytes - used);
  EXPECT_GT(more, 0);
  for (const int seconds : {1, 3, 5, 9}) {  // For 1, 2, 4 and 8 rows.
    const absl::StatusOr<StepTimes> times = Measure(lengths, absl::Seconds(seconds));
    ASSERT_TRUE(times.ok()) << times.status();
    EXPECT_NEAR(static_cast<double>(times->peak_bytes - used) / more, 1, seconds == 1 ? 0.5 : 0.1)
        << seconds;
    EXPECT_EQ(times->batch_size, 16);
  }
  LimitCpuTensors(used + static_cast<int64_t>(more * 0.7));
  const absl::StatusOr<StepTimes> halved = Measure(lengths, absl::Seconds(3));
  LimitCpuTensors(0);
  ASSERT_TRUE(halved.ok()) << halved.status();
  EXPECT_EQ(halved->batch_size, 8);
  EXPECT_EQ(halved->micro_batches, 2);
}

}  // namespace
}  // namespace graft
