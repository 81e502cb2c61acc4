// Rows that are not finite, by each policy: worker/engine/training/trial_divergence.cc.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <functional>
#include <limits>
#include <map>
#include <stdexcept>

#include "absl/strings/numbers.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"
#include "worker/engine/data/token_file.h"
#include "worker/engine/training/training_state.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int64_t kLongest = 2;  // Of GoldenRows: 12 tokens, the next has 9.

// The golden model with a position that is not finite: longer rows diverge, alone or not.
std::unique_ptr<Gpt2Model> ModelThatEndsAt(int64_t position, at::ScalarType dtype = at::kFloat) {
  std::unique_ptr<Gpt2Model> model = GoldenModel(dtype);
  at::Tensor positions = model->network().wpe;
  positions[position].fill_(std::numeric_limits<double>::quiet_NaN());
  return model;
}

// The golden rows, of which some have no label.
class WithoutLabelsOf : public GoldenRows {
 public:
  explicit WithoutLabelsOf(int64_t row) : row_(row) {}
  Example Get(int64_t index) const override {
    Example example = GoldenRows::Get(index);
    if (index == row_) example.num_prompt_tokens = static_cast<int64_t>(example.ids.size());
    return example;
  }

 private:
  const int64_t row_;
};

TrainerOptions OptionsOf(DivergencePolicy policy) {
  TrainerOptions options = SmallOptions();
  options.config.on_divergence = policy;
  return options;
}

struct Trained {
  absl::Status status;
  RecordingSink sink;
  std::string hash;
};

Trained TrainOn(const Gpt2Model& model, const TrainerOptions& options,
                const ExampleSource& rows = GoldenRows(), Evaluator* evaluator = nullptr) {
  at::set_num_threads(1);  // Tiny runs: more threads only wait for each other.
  Trained run;
  NoStop stop;
  const std::unique_ptr<AdapterSet> adapter = MakeAdapter(model, OnlyLora());
  run.status = Train(options, rows, *adapter, evaluator, run.sink, stop).status();
  run.hash = HashOf(*adapter);
  return run;
}

std::vector<int64_t> StepsOf(const RecordingSink& sink) {
  std::vector<int64_t> steps;
  for (const StepEvent& event : sink.steps) steps.push_back(event.step);
  return steps;
}

TEST(DivergenceTest, AStoppedRunNamesTheRowsThatAreNotFinite) {
  TrainerOptions options = OptionsOf(DivergencePolicy::kStop);
  options.describe_rows = [](std::vector<DivergentRow>& rows) {
    for (DivergentRow& row : rows) row.id = "the long one";
  };
  const Trained run = TrainOn(*ModelThatEndsAt(10), options);
  EXPECT_EQ(run.status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(run.status.message(),
              HasSubstr(", by the row at line 3 (id \"the long one\") of the training set; "
                        "on_divergence roll_back goes on without them; a smaller learning rate"));
  ASSERT_THAT(run.sink.divergences, SizeIs(1));
  const DivergenceEvent& event = run.sink.divergences[0];
  EXPECT_EQ(event.step, static_cast<int64_t>(run.sink.steps.size()) + 1);
  EXPECT_TRUE(std::isnan(event.loss));
  EXPECT_EQ(event.action, DivergenceAction::kStopped);
  ASSERT_THAT(event.rows, SizeIs(1));
  EXPECT_EQ(event.rows[0].row, kLongest);
  EXPECT_EQ(event.rows[0].line, 3);
  EXPECT_EQ(event.rows[0].id, "the long one");
  EXPECT_TRUE(std::isnan(event.rows[0].loss));
  EXPECT_TRUE(std::isnan(event.rows[0].grad_norm));
}

TEST(DivergenceTest, RowsOfASubsetAreNamedAsInTheWholeData) {
  const auto all = std::make_shared<GoldenRows>();
  const Trained run =
      TrainOn(*ModelThatEndsAt(10), OptionsOf(DivergencePolicy::kStop), RowSubset(all, {1, 2, 3}));
  ASSERT_THAT(run.sink.divergences, SizeIs(1));
  ASSERT_THAT(run.sink.divergences[0].rows, SizeIs(1));
  EXPECT_EQ(run.sink.divergences[0].rows[0].row, kLongest);
  EXPECT_EQ(run.sink.divergences[0].rows[0].line, 3);
}

TEST(DivergenceTest, ASkippedStepIsToldInEveryPassAndTheOthersTrain) {
  const Trained run = TrainOn(*ModelThatEndsAt(10), OptionsOf(DivergencePolicy::kSkip));
  EXPECT_TRUE(run.status.ok()) << run.status;
  EXPECT_THAT(run.sink.steps, SizeIs(6));  // Of nine.
  ASSERT_THAT(run.sink.divergences, SizeIs(3));
  for (const DivergenceEvent& event : run.sink.divergences) {
    EXPECT_EQ(event.action, DivergenceAction::kSkipped);
    ASSERT_THAT(event.rows, SizeIs(1));
    EXPECT_EQ(event.rows[0].row, kLongest);
  }
}

// A row that is left out adds neither labels nor gradients: in micro-batches of one the run is, bit
// for bit, that of data in which it has no label and a model that is finite.
TEST(DivergenceTest, ARowThatIsLeftOutIsOneWithoutLabels) {
  TrainerOptions options = OptionsOf(DivergencePolicy::kRollBack);
  options.config.batch_size = 1;
  options.config.gradient_accumulation_steps = 3;
  const Trained without = TrainOn(*GoldenModel(at::kFloat), options, WithoutLabelsOf(kLongest));
  ASSERT_TRUE(without.status.ok()) << without.status;
  const Trained run = TrainOn(*ModelThatEndsAt(10), options);
  ASSERT_TRUE(run.status.ok()) << run.status;
  EXPECT_EQ(run.hash, without.hash);
  ASSERT_THAT(run.sink.divergences, SizeIs(1));
  EXPECT_EQ(run.sink.divergences[0].action, DivergenceAction::kRolledBack);
  EXPECT_EQ(run.sink.divergences[0].rolled_back_to_step, 0);
  ASSERT_GE(run.sink.steps.size(), 6u);
  const size_t repeated = run.sink.steps.size() - 6;
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(run.sink.steps[repeated + i].loss, without.sink.steps[i].loss) << i;
    EXPECT_EQ(run.sink.steps[repeated + i].learning_rate, without.sink.steps[i].learning_rate);
  }
}

TEST(DivergenceTest, AStepWithoutARowIsPassedAndKeepsItsPlace) {
  TrainerOptions options = OptionsOf(DivergencePolicy::kRollBack);
  options.config.batch_size = 1;  // The row that is left out is a step.
  options.config.eval_every_steps = 1;
  options.config.early_stopping.patience = 0;
  class FiniteRowsEvaluator : public Evaluator {
   public:
    absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network&, int64_t step,
                                             EvaluationKeeper& keeper, StopToken&) override {
      EvaluationEvent event;
      event.values["eval/loss"] = 1.0 / static_cast<double>(step);
      return event;
    }
  } always_better;
  const Trained run = TrainOn(*ModelThatEndsAt(10), options, GoldenRows(), &always_better);
  ASSERT_TRUE(run.status.ok()) << run.status;
  std::vector<int64_t> steps = StepsOf(run.sink);
  steps.erase(steps.begin(), steps.end() - 12);  // What went before it went back.
  std::vector<int64_t> expected;
  NoStop stop;
  for (int64_t step = 1; step <= 15; ++step) {
    const at::Tensor order = at::randperm(
        5, at::detail::createCPUGenerator(options.config.seed + (step - 1) / 5), at::kLong);
    if (order[(step - 1) % 5].item<int64_t>() != kLongest) expected.push_back(step);
  }
  EXPECT_EQ(steps, expected);
  EXPECT_EQ(run.sink.evaluations.back().step, 15);
  EXPECT_EQ(run.sink.steps.back().total_steps, 15);
}

// Twelve of them are too long for the model, each in a step of its own.
class ManyLongRows : public ExampleSource {
 public:
  int64_t size() const override { return 30; }
  Example Get(int64_t index) const override { return rows_.Get(index < 12 ? 2 : 1); }

 private:
  const GoldenRows rows_;
};

TEST(DivergenceTest, WhoHasGoneBackTenTimesFails) {
  TrainerOptions options = OptionsOf(DivergencePolicy::kRollBack);
  options.config.batch_size = 1;
  options.checkpoint_directory = FreshDirectory("ten times");
  options.config.checkpoint_every_steps = 1;
  const Trained run = TrainOn(*ModelThatEndsAt(10), options, ManyLongRows());
  EXPECT_EQ(run.status.code(), absl::StatusCode::kOutOfRange) << run.status;
  EXPECT_THAT(run.status.message(),
              HasSubstr("the run has gone back 10 times already, and left out 10 rows"));
  ASSERT_THAT(run.sink.divergences, SizeIs(11));
  EXPECT_EQ(run.sink.divergences[9].action, DivergenceAction::kRolledBack);
  EXPECT_EQ(run.sink.divergences[10].action, DivergenceAction::kStopped);
}

TEST(DivergenceTest, WithNoRowLeftTheRunFails) {
  TrainerOptions options = OptionsOf(DivergencePolicy::kRollBack);
  options.config.batch_size = 5;
  const Trained run = TrainOn(*ModelThatEndsAt(1), options);
  EXPECT_EQ(run.status.code(), absl::StatusCode::kOutOfRange) << run.status;
  EXPECT_THAT(run.status.message(), HasSubstr("all that it has; without them no row is left"));
  EXPECT_THAT(run.sink.divergences, SizeIs(1));
}

TEST(DivergenceTest, ItGoesBackToTheLastCheckpoint) {
  TrainerOptions options = OptionsOf(DivergencePolicy::kRollBack);
  options.checkpoint_directory = FreshDirectory("goes back");
  options.config.checkpoint_every_steps = 2;
  options.config.checkpoint_keep_last = 100;
  options.config.batch_size = 1;
  const Trained run = TrainOn(*ModelThatEndsAt(10), options);
  ASSERT_TRUE(run.status.ok()) << run.status;
  ASSERT_THAT(run.sink.divergences, SizeIs(1));
  const int64_t step = run.sink.divergences[0].step;
  EXPECT_EQ(run.sink.divergences[0].rolled_back_to_step, (step - 1) / 2 * 2);
}

TEST(DivergenceTest, ARunOfOneRowAmongOthersDoesNotTouchThem) {
  const std::unique_ptr<Gpt2Model> model = ModelThatEndsAt(10, at::kDouble);
  const auto all = std::make_shared<GoldenRows>();
  const RowSubset finite(all, {0, 1, 3, 4});
  const GoldenRows with_one_that_is_not;
  for (const DivergencePolicy policy :
       {DivergencePolicy::kStop, DivergencePolicy::kSkip, DivergencePolicy::kRollBack}) {
    const TrainerOptions options = OptionsOf(policy);
    const std::unique_ptr<AdapterSet> alone = MakeAdapter(*model, OnlyLora());
    RecordingSink alone_sink;
    NoStop stop;
    ASSERT_TRUE(Train(options, finite, *alone, nullptr, alone_sink, stop).ok());
    const std::unique_ptr<AdapterSet> first = MakeAdapter(*model, OnlyLora());
    const std::unique_ptr<AdapterSet> second = MakeAdapter(*model, OnlyLora());
    RecordingSink first_sink, second_sink;
    const TrialParts parts[] = {{options, with_one_that_is_not, *first, nullptr, first_sink, stop},
                                {options, finite, *second, nullptr, second_sink, stop}};
    const std::vector<absl::StatusOr<TrainingResult>> results = TrainTogether(parts);
    EXPECT_EQ(results[0].ok(), policy != DivergencePolicy::kStop) << results[0].status();
    EXPECT_THAT(first_sink.divergences, Not(IsEmpty()));
    EXPECT_EQ(first_sink.divergences[0].rows.size(), 1u);
    ASSERT_TRUE(results[1].ok()) << results[1].status();
    EXPECT_THAT(second_sink.divergences, IsEmpty());
    ASSERT_EQ(second_sink.steps.size(), alone_sink.steps.size());
    for (size_t i = 0; i < alone_sink.steps.size(); ++i) {
      EXPECT_NEAR(second_sink.steps[i].loss / alone_sink.steps[i].loss, 1, 1e-10);
    }
    for (size_t t = 0; t < alone->tensors().size(); ++t) {
      EXPECT_LT(RelativeDifference(second->tensors()[t].tensor, alone->tensors()[t].tensor), 1e-8);
    }
  }
}

// Ends the process, as far as a test may, at the n-th event.
class DyingSink : public RecordingSink {
 public:
  explicit DyingSink(int64_t event) : left_(event) {}
  void OnStep(const StepEvent& event) override {
    Die();
    RecordingSink::OnStep(event);
  }
  void OnEvaluation(const EvaluationEvent& event) override {
    Die();
    RecordingSink::OnEvaluation(event);
  }
  void OnCheckpoint(const CheckpointEvent& event) override {
    Die();
    RecordingSink::OnCheckpoint(event);
  }
  void OnDivergence(const DivergenceEvent& event) override {
    RecordingSink::OnDivergence(event);
    Die();
  }

 private:
  void Die() {
    if (--left_ == 0) throw std::runtime_error("killed by the test");
  }
  int64_t left_;
};

// The loss over the rows that are finite.
class LossOfShortRows : public Evaluator {
 public:
  absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network& network, int64_t step,
                                           EvaluationKeeper& keeper, StopToken& stop) override {
    absl::StatusOr<ValidationLoss> loss =
        ComputeValidationLoss(network, RowSubset(all_, {1, 3, 4}), 2, stop);
    if (!loss.ok()) return loss.status();
    EvaluationEvent event;
    event.values["eval/loss"] = loss->loss;
    return event;
  }

 private:
  const std::shared_ptr<GoldenRows> all_ = std::make_shared<GoldenRows>();
};

// A run that goes back, killed and resumed. Two of its five rows diverge: those of 9 and 12 tokens.
class KilledRollbackTest : public ::testing::TestWithParam<int64_t> {
 protected:
  KilledRollbackTest() {
    at::set_num_threads(1);
    options_ = OptionsOf(DivergencePolicy::kRollBack);
    options_.config.batch_size = 1;
    options_.config.gradient_accumulation_steps = 2;
    options_.config.checkpoint_every_steps = GetParam();
    options_.config.checkpoint_keep_last = 1;
    options_.config.early_stopping.patience = 0;
    options_.config.residual_dropout = 0.1;
    options_.fingerprint = "a run";
    options_.checkpoint_directory = FreshDirectory("whole");
    const std::unique_ptr<AdapterSet> reference = MakeAdapter(*model_, OnlyLora());
    EXPECT_TRUE(Train(options_, GoldenRows(), *reference, &evaluator_, whole_, stop_).ok());
    EXPECT_EQ(whole_.divergences.size(), 2u);
    hash_ = HashOf(*reference);
  }

  void ResumeHere() {
    int64_t newest = 0;
    const std::vector<std::string> names = *ListDirectory(options_.checkpoint_directory);
    for (const std::string& name : names) {
      int64_t step = 0;
      if (absl::SimpleAtoi(name, &step)) newest = std::max(newest, step);
    }
    options_.resume_from =
        newest > 0 ? JoinPath(options_.checkpoint_directory, std::to_string(newest)) : "";
  }

  // The loss of each step as it was told last.
  static void AddLosses(const RecordingSink& sink, std::map<int64_t, double>& losses) {
    for (const StepEvent& event : sink.steps) losses[event.step] = event.loss;
  }

  using Life = std::function<absl::Status(int64_t place, AdapterSet&, RecordingSink&)>;
  void KillEverywhere(const Life& life,
                      const std::function<std::unique_ptr<RecordingSink>(int64_t)>& make_sink) {
    std::map<int64_t, double> whole;
    AddLosses(whole_, whole);
    for (int64_t place = 1;; ++place) {
      SCOPED_TRACE(absl::StrCat("killed at ", place));
      options_.checkpoint_directory = FreshDirectory("killed");
      options_.resume_from.clear();
      const std::unique_ptr<RecordingSink> before = make_sink(place);
      if (life(place, *MakeAdapter(*model_, OnlyLora()), *before).ok()) {
        EXPECT_GT(place, 9);
        return;
      }
      ResumeHere();
      RecordingSink after;
      const std::unique_ptr<AdapterSet> adapter =
          MakeAdapter(*model_, OnlyLora(), options_.resume_from.empty() ? 1 : 99);
      const absl::Status ended =
          Train(options_, GoldenRows(), *adapter, &evaluator_, after, stop_).status();
      ASSERT_TRUE(ended.ok()) << ended;
      EXPECT_EQ(HashOf(*adapter), hash_);
      std::map<int64_t, double> losses;
      AddLosses(*before, losses);
      AddLosses(after, losses);
      EXPECT_EQ(losses, whole);
      ASSERT_FALSE(HasFailure());
    }
  }

  const std::unique_ptr<Gpt2Model> model_ = ModelThatEndsAt(8);
  TrainerOptions options_;
  LossOfShortRows evaluator_;
  NoStop stop_;
  RecordingSink whole_;
  std::string hash_;
};
INSTANTIATE_TEST_SUITE_P(CheckpointEverySteps, KilledRollbackTest, ::testing::Values(0, 2));

TEST_P(KilledRollbackTest, AtEveryPollItHasTheSameBits) {
  KillEverywhere(
      [&](int64_t place, AdapterSet& adapter, RecordingSink& sink) {
        StopAtPoll stop(place);
        return Train(options_, GoldenRows(), adapter, &evaluator_, sink, stop).status();
      },
      [](int64_t) { return std::make_unique<RecordingSink>(); });
}

TEST_P(KilledRollbackTest, AtEveryEventItHasTheSameBits) {
  KillEverywhere(
      [&](int64_t, AdapterSet& adapter, RecordingSink& sink) {
        return Train(options_, GoldenRows(), adapter, &evaluator_, sink, stop_).status();
      },
      [](int64_t place) { return std::make_unique<DyingSink>(place); });
}

TEST_P(KilledRollbackTest, WhatIsLeftOutStaysSoWhenTheRunResumes) {
  // From the checkpoint of an earlier step, which has what was left out until then.
  options_.checkpoint_directory = FreshDirectory("all kept");
  options_.config.checkpoint_keep_last = 100;
  RecordingSink kept;
  ASSERT_TRUE(
      Train(options_, GoldenRows(), *MakeAdapter(*model_, OnlyLora()), &evaluator_, kept, stop_)
          .ok());
  options_.resume_from = JoinPath(options_.checkpoint_directory, "6");
  Pulse pulse;
  const absl::StatusOr<TrainingState> state = LoadTrainingState(options_.resume_from, pulse);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_THAT(state->left_out, ElementsAre(0, 2));
  EXPECT_EQ(state->times_gone_back, 2);
  RecordingSink resumed;
  const std::unique_ptr<AdapterSet> adapter = MakeAdapter(*model_, OnlyLora(), 99);
  ASSERT_TRUE(Train(options_, GoldenRows(), *adapter, &evaluator_, resumed, stop_).ok());
  EXPECT_THAT(resumed.divergences, IsEmpty());
  EXPECT_EQ(HashOf(*adapter), hash_);
}

}  // namespace
}  // namespace graft
