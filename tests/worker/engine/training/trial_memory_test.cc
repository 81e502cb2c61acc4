// What a training does when memory ends: worker/engine/training/trial_memory.cc.

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "absl/strings/numbers.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/tensor_limit.h"
#include "worker/engine/gpt2/tensor_memory.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kRows = 24;
constexpr int64_t kMostTokens = 23;

// Rows of 4 to kMostTokens tokens, the longest somewhere in the middle.
class UnequalRows : public ExampleSource {
 public:
  explicit UnequalRows(int64_t longest = 1 << 20) {
    for (int64_t row = 0; row < kRows; ++row) {
      const int64_t length = std::min(longest, 4 + (row * 7 + 3) % (kMostTokens - 3));
      std::vector<int32_t>& ids = rows_.emplace_back();
      for (int64_t t = 0; t < length; ++t) ids.push_back((5 * row + 3 * t * t + t) % 48);
    }
  }
  int64_t size() const override { return kRows; }
  Example Get(int64_t index) const override { return {rows_[index], 2}; }

 private:
  std::vector<std::vector<int32_t>> rows_;
};

TrainerOptions EightAtATime() {
  TrainerOptions options = SmallOptions();
  options.config.batch_size = 8;
  options.config.epochs = 2;
  return options;
}

struct MeasuredRun {
  absl::Status status;
  RecordingSink sink;
  std::vector<std::pair<int64_t, int64_t>> micro_batches;  // As told: rows, how many a step.
  std::string hash;
  int64_t used = 0;  // Bytes of tensors before the first step.
  int64_t peak = 0;
};

class TrialMemoryTest : public ::testing::Test {
 protected:
  TrialMemoryTest() {
    at::set_num_threads(1);
    CountCpuTensors();
    model_ = GoldenModel(at::kFloat);
  }
  ~TrialMemoryTest() override { LimitCpuTensors(0); }

  // With so many bytes for tensors beside those that are there before; 0: without a bound.
  std::unique_ptr<MeasuredRun> Run(int64_t room, TrainerOptions options, StopToken& stop,
                                   const ExampleSource& rows = UnequalRows(), uint64_t seed = 1) {
    auto trained = std::make_unique<MeasuredRun>();
    options.on_micro_batch = [&](int64_t count, int64_t micro_batches) {
      trained->micro_batches.push_back({count, micro_batches});
    };
    const std::unique_ptr<AdapterSet> adapter = MakeAdapter(*model_, OnlyLora(), seed);
    trained->used = TensorMemoryOf(at::kCPU).used_bytes;
    ResetPeak(at::kCPU);
    LimitCpuTensors(room > 0 ? trained->used + room : 0);
    trained->status = Train(options, rows, *adapter, &evaluator_, trained->sink, stop).status();
    LimitCpuTensors(0);
    trained->peak = TensorMemoryOf(at::kCPU).peak_bytes;
    trained->hash = HashOf(*adapter);
    return trained;
  }
  std::unique_ptr<MeasuredRun> Run(int64_t room, const TrainerOptions& options = EightAtATime()) {
    return Run(room, options, no_stop_);
  }

  // What the whole run takes, undisturbed.
  int64_t Room() {
    const std::unique_ptr<MeasuredRun> trained = Run(0);
    EXPECT_TRUE(trained->status.ok()) << trained->status;
    return trained->peak - trained->used;
  }

  LossEvaluator evaluator_;
  NoStop no_stop_;
  std::unique_ptr<Gpt2Model> model_;
};

void ExpectSameSteps(const RecordingSink& one, const RecordingSink& other) {
  ASSERT_EQ(one.steps.size(), other.steps.size());
  for (size_t i = 0; i < one.steps.size(); ++i) {
    EXPECT_NEAR(one.steps[i].loss / other.steps[i].loss, 1, 1e-6) << "step " << i + 1;
    EXPECT_NEAR(one.steps[i].grad_norm / other.steps[i].grad_norm, 1, 1e-4) << "step " << i + 1;
    EXPECT_EQ(one.steps[i].epoch, other.steps[i].epoch);
    EXPECT_EQ(one.steps[i].learning_rate, other.steps[i].learning_rate);
  }
}

TEST_F(TrialMemoryTest, WithTenSizesOfMemoryItFitsOrFailsWithFigures) {
  const std::unique_ptr<MeasuredRun> whole = Run(0);
  const auto room = static_cast<double>(whole->peak - whole->used);
  std::vector<int64_t> rows_at_once;
  for (const double share : {1.2, 0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.03}) {
    SCOPED_TRACE(share);
    const std::unique_ptr<MeasuredRun> trained = Run(static_cast<int64_t>(share * room));
    if (trained->status.ok()) {
      const int64_t rows = trained->micro_batches.empty() ? 8 : trained->micro_batches.back().first;
      rows_at_once.push_back(rows);
      ExpectSameSteps(trained->sink, whole->sink);
      ASSERT_EQ(trained->sink.warnings.size(), rows < 8 ? 1u : 0u);
      if (rows == 8) continue;
      EXPECT_EQ(trained->micro_batches.back().second, 8 / rows);
      EXPECT_EQ(trained->sink.warnings[0].first, "MICRO_BATCH_HALVED");
      EXPECT_THAT(trained->sink.warnings[0].second, HasSubstr("from step 1 on"));
    } else {
      rows_at_once.push_back(0);
      EXPECT_EQ(FailureClassOf(trained->status), FailureClass::kOutOfMemory);
      EXPECT_THAT(
          std::string(trained->status.message()),
          ::testing::AllOf(HasSubstr("more than"), HasSubstr(" alone, of "), HasSubstr("take ")));
      EXPECT_THAT(trained->sink.steps, IsEmpty()) << "it was tried before the first step";
    }
  }
  EXPECT_TRUE(std::is_sorted(rows_at_once.rbegin(), rows_at_once.rend()));
  std::vector<int64_t> sizes = rows_at_once;
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  EXPECT_THAT(sizes, ElementsAre(8, 4, 2, 1, 0));
}

// Of "with 23 tokens … a row of 12 tokens fits".
int64_t TokensThatFit(const absl::Status& status) {
  const std::string message(status.message());
  const std::string before = "and a row of ";
  const size_t at = message.find(before);
  int64_t tokens = 0;
  if (at == std::string::npos) return 0;
  const std::string rest = message.substr(at + before.size());
  return absl::SimpleAtoi(rest.substr(0, rest.find(' ')), &tokens) ? tokens : 0;
}

TEST_F(TrialMemoryTest, WhatItSaysWouldFitFits) {
  const int64_t room = Room() / 10;
  const absl::Status failed = Run(room)->status;
  EXPECT_THAT(std::string(failed.message()),
              ::testing::AllOf(HasSubstr("the row at line "), HasSubstr(" alone, of 23 tokens"),
                               HasSubstr("--engine-memory-gb")));
  const int64_t fits = TokensThatFit(failed);
  ASSERT_GT(fits, 1) << failed;
  ASSERT_LT(fits, kMostTokens);
  const UnequalRows cut(fits);
  const absl::Status status = Run(room, EightAtATime(), no_stop_, cut)->status;
  EXPECT_TRUE(status.ok()) << status;
  const UnequalRows longer(fits + 2);
  EXPECT_FALSE(Run(room, EightAtATime(), no_stop_, longer)->status.ok());
}

// Memory ends at a poll, so that what was tried first fits.
class LessAtPoll : public StopToken {
 public:
  LessAtPoll(int64_t poll, int64_t limit) : left_(poll), limit_(limit) {}
  absl::Status Poll() override {
    if (--left_ == 0) LimitCpuTensors(TensorMemoryOf(at::kCPU).used_bytes + limit_);
    return absl::OkStatus();
  }

 private:
  int64_t left_;
  const int64_t limit_;
};

TEST_F(TrialMemoryTest, AStepInWhichMemoryEndsIsDoneAgainAsAWhole) {
  TrainerOptions options = EightAtATime();
  options.config.gradient_accumulation_steps = 2;
  const std::unique_ptr<MeasuredRun> whole = Run(0, options);
  const int64_t room = whole->peak - whole->used;
  // Before each micro-batch of the first epoch in turn: the second of a step, too.
  for (int64_t poll = 1; poll <= 3; ++poll) {
    SCOPED_TRACE(poll);
    LessAtPoll stop(poll, room / 3);
    const std::unique_ptr<MeasuredRun> trained = Run(0, options, stop);
    ASSERT_TRUE(trained->status.ok()) << trained->status;
    EXPECT_FALSE(trained->micro_batches.empty());
    ExpectSameSteps(trained->sink, whole->sink);
  }
}

TEST_F(TrialMemoryTest, AHalvedRunThatIsKilledHasTheSameBits) {
  TrainerOptions options = EightAtATime();
  options.config.epochs = 1;
  options.config.checkpoint_every_steps = 1;
  options.config.residual_dropout = options.config.attention_dropout = 0.1;
  options.config.early_stopping.patience = 0;
  options.fingerprint = "a run";
  const int64_t room = Room() * 4 / 10;
  const std::unique_ptr<MeasuredRun> whole = Run(room, options);
  ASSERT_TRUE(whole->status.ok()) << whole->status;
  ASSERT_EQ(whole->micro_batches.size(), 1u);
  for (int64_t poll = 1;; ++poll) {
    SCOPED_TRACE(poll);
    options.checkpoint_directory = FreshDirectory("halved");
    options.resume_from.clear();
    StopAtPoll stop(poll);
    const std::unique_ptr<MeasuredRun> first = Run(room, options, stop);
    if (first->status.ok()) {
      EXPECT_GT(poll, 8);
      break;
    }
    int64_t newest = 0;
    for (const CheckpointEvent& event : first->sink.checkpoints) newest = event.step;
    if (newest > 0) {
      options.resume_from = JoinPath(options.checkpoint_directory, std::to_string(newest));
      EXPECT_EQ(first->sink.checkpoints.back().execution.batch_size, whole->micro_batches[0].first);
    }
    const std::unique_ptr<MeasuredRun> second =
        Run(room, options, no_stop_, UnequalRows(), newest > 0 ? 99 : 1);
    ASSERT_TRUE(second->status.ok()) << second->status;
    EXPECT_EQ(second->hash, whole->hash);
    EXPECT_EQ(second->micro_batches.empty(), newest > 0) << "told once";
    for (const StepEvent& step : second->sink.steps) {
      EXPECT_EQ(step.loss, whole->sink.steps[step.step - 1].loss) << "step " << step.step;
    }
    ASSERT_FALSE(HasFailure());
  }
}

// From its beginning it has the cuts of the run that was killed, whatever memory there is now.
TEST_F(TrialMemoryTest, WhoResumesWhereThereIsMoreMemoryKeepsTheCuts) {
  TrainerOptions options = EightAtATime();
  options.config.residual_dropout = 0.1;
  options.config.checkpoint_every_steps = 2;
  options.checkpoint_directory = FreshDirectory("more");
  const std::unique_ptr<MeasuredRun> whole = Run(Room() * 4 / 10, options);
  ASSERT_TRUE(whole->status.ok()) << whole->status;
  options.checkpoint_directory = FreshDirectory("killed");
  PauseAtPoll stop(9);
  EXPECT_TRUE(IsPaused(Run(Room() * 4 / 10, options, stop)->status));
  options.resume_from =
      JoinPath(options.checkpoint_directory, ListDirectory(options.checkpoint_directory)->back());
  EXPECT_EQ(Run(0, options)->hash, whole->hash);
}

TEST_F(TrialMemoryTest, AHalvingUnderWayIsSavedAtOnce) {
  TrainerOptions options = EightAtATime();
  options.checkpoint_directory = FreshDirectory("under_way");
  LessAtPoll stop(3, Room() / 3);  // Before the third micro-batch, which is the third step.
  const std::unique_ptr<MeasuredRun> trained = Run(0, options, stop);
  ASSERT_TRUE(trained->status.ok()) << trained->status;
  ASSERT_FALSE(trained->sink.checkpoints.empty());
  EXPECT_EQ(trained->sink.checkpoints[0].step, 2);
  EXPECT_EQ(trained->sink.checkpoints[0].execution.batch_size, trained->micro_batches[0].first);
}

TEST_F(TrialMemoryTest, TrialsThatDoNotFitTogetherGoOnInFewerAtATime) {
  std::vector<TrainerOptions> options(4, EightAtATime());
  for (size_t i = 0; i < options.size(); ++i) options[i].config.seed = 10 + i;
  const UnequalRows rows;
  const int64_t room = Room();
  std::vector<std::string> hashes[2];
  std::vector<RecordingSink> sinks[2];
  for (const bool short_of_memory : {false, true}) {
    sinks[short_of_memory].resize(options.size());
    std::deque<std::unique_ptr<AdapterSet>> adapters;
    std::vector<TrialParts> parts;
    for (size_t i = 0; i < options.size(); ++i) {
      adapters.push_back(MakeAdapter(*model_, OnlyLora(), i));
      parts.push_back(
          {options[i], rows, *adapters[i], nullptr, sinks[short_of_memory][i], no_stop_});
    }
    const int64_t used = TensorMemoryOf(at::kCPU).used_bytes;
    LimitCpuTensors(short_of_memory ? used + room * 3 / 2 : 0);
    for (const auto& result : TrainTogether(parts)) EXPECT_TRUE(result.ok()) << result.status();
    LimitCpuTensors(0);
  }
  for (size_t i = 0; i < options.size(); ++i) {
    ExpectSameSteps(sinks[true][i], sinks[false][i]);
    EXPECT_THAT(sinks[true][i].warnings, IsEmpty()) << "each alone has room for its micro-batch";
  }
}

TEST_F(TrialMemoryTest, AValidationPassHalvesItsBatchesAndGivesTheSameLoss) {
  const UnequalRows rows;
  const Gpt2Network network = model_->network();
  const int64_t used = TensorMemoryOf(at::kCPU).used_bytes;
  ResetPeak(at::kCPU);
  const absl::StatusOr<ValidationLoss> whole = ComputeValidationLoss(network, rows, 8, no_stop_);
  const int64_t room = TensorMemoryOf(at::kCPU).peak_bytes - used;
  int64_t told = 0;
  LimitCpuTensors(used + room / 3);
  const absl::StatusOr<ValidationLoss> halved =
      ComputeValidationLoss(network, rows, 8, no_stop_, [&](int64_t count) { told += count; });
  LimitCpuTensors(used + room / 100);
  const absl::StatusOr<ValidationLoss> none = ComputeValidationLoss(network, rows, 8, no_stop_);
  LimitCpuTensors(0);
  ASSERT_TRUE(halved.ok()) << halved.status();
  EXPECT_EQ(halved->num_tokens, whole->num_tokens);
  EXPECT_NEAR(halved->loss / whole->loss, 1, 1e-6);
  EXPECT_EQ(told, kRows);
  EXPECT_TRUE(IsOutOfMemory(none.status()));
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("1 rows of 4 tokens"));
}

}  // namespace
}  // namespace graft
