#include "worker/engine/training/trainer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <functional>
#include <iterator>

#include "absl/strings/str_replace.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/formats/row_loss_file.h"
#include "common/methods/lora.h"
#include "tests/worker/engine/golden.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"
#include "worker/engine/data/token_file.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Says what it is told to say, and keeps what it saw.
class ScriptedEvaluator : public Evaluator {
 public:
  explicit ScriptedEvaluator(std::vector<double> losses) : losses_(std::move(losses)) {}
  absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network& network, int64_t step,
                                           EvaluationKeeper& keeper, StopToken& stop) override {
    EvaluationEvent event;
    event.values["eval/loss"] = losses_.at(steps.size());
    steps.push_back(step);
    seen.push_back(network.blocks[0].projections[kAttnCAttn].adapter->tensors()[0].clone());
    return event;
  }
  std::vector<int64_t> steps;
  std::vector<at::Tensor> seen;

 private:
  std::vector<double> losses_;
};

TEST(TrainerTest, AccumulationOnlyChangesHowTheStepIsCut) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  std::vector<std::unique_ptr<AdapterSet>> adapters;
  for (const auto& [batch_size, accumulation] :
       std::vector<std::pair<int, int>>{{1, 4}, {2, 2}, {4, 1}}) {
    TrainerOptions options = SmallOptions();
    options.config.batch_size = batch_size;
    options.config.gradient_accumulation_steps = accumulation;
    MethodConfig method = AllParts();
    method.Get<LoraConfig>().dropout = 0;  // A mask belongs to a micro-batch.
    adapters.push_back(MakeAdapter(*model, method));
    RecordingSink sink;
    NoStop stop;
    ASSERT_TRUE(Train(options, GoldenRows(), *adapters.back(), nullptr, sink, stop).ok());
  }
  for (size_t i = 0; i < adapters[0]->tensors().size(); ++i) {
    for (size_t other : {1, 2}) {
      EXPECT_LT((adapters[0]->tensors()[i].tensor - adapters[other]->tensors()[i].tensor)
                    .norm()
                    .item<double>(),
                1e-10)
          << adapters[0]->tensors()[i].name;
    }
  }
}

TEST(TrainerTest, BestEvaluationIsKeptAndPatienceEndsTheRun) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.epochs = 9;
  options.checkpoint_directory = FreshDirectory("best");
  ScriptedEvaluator evaluator({3, 1, 2, 2.5, 0});
  RecordingSink sink;
  NoStop stop;
  const std::unique_ptr<AdapterSet> adapter = MakeAdapter(*model, OnlyLora());
  const absl::StatusOr<TrainingResult> result =
      Train(options, GoldenRows(), *adapter, &evaluator, sink, stop);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(evaluator.steps, ElementsAre(3, 6, 9, 12));  // Each epoch's end.
  EXPECT_TRUE(result->stopped_early);
  EXPECT_EQ(result->steps, 12);
  EXPECT_EQ(result->best_step, 6);
  EXPECT_EQ(result->best.values.at("eval/loss"), 1);
  EXPECT_EQ(result->last.values.at("eval/loss"), 2.5);
  EXPECT_TRUE(at::equal(adapter->tensors()[0].tensor, evaluator.seen[1]));
  EXPECT_FALSE(at::equal(adapter->tensors()[0].tensor, evaluator.seen[3]));
  std::vector<int64_t> checkpoints;
  for (const CheckpointEvent& event : sink.checkpoints) checkpoints.push_back(event.step);
  EXPECT_THAT(checkpoints, ElementsAre(3, 3, 6, 6, 9, 9, 12, 12));  // Before and after each.
  EXPECT_THAT(*ListDirectory(options.checkpoint_directory), ElementsAre("12", "9"));

  // A finished run that is resumed has nothing to do and gives the same.
  options.resume_from = options.checkpoint_directory + "/12";
  const std::unique_ptr<AdapterSet> again = MakeAdapter(*model, OnlyLora(), 7);
  const absl::StatusOr<TrainingResult> resumed =
      Train(options, GoldenRows(), *again, &evaluator, sink, stop);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(HashOf(*again), HashOf(*adapter));
  EXPECT_EQ(resumed->best_step, 6);
}

// As a trial of a study: it is left after the step and its evaluation, again and again.
TEST(TrainerTest, ARunThatIsToWaitAtAStepGoesOnToTheSameBits) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.eval_every_steps = 2;
  LossEvaluator evaluator;
  NoStop stop;
  RecordingSink undisturbed;
  const std::unique_ptr<AdapterSet> whole = MakeAdapter(*model, AllParts());
  ASSERT_TRUE(Train(options, GoldenRows(), *whole, &evaluator, undisturbed, stop).ok());

  options.checkpoint_directory = FreshDirectory("waits");
  std::unique_ptr<AdapterSet> adapter;
  std::vector<double> losses;
  for (const int64_t step : {2, 4, 8}) {
    RecordingSink sink;
    options.pause_at_step = step;
    adapter = MakeAdapter(*model, AllParts());
    const absl::Status left =
        Train(options, GoldenRows(), *adapter, &evaluator, sink, stop).status();
    EXPECT_TRUE(IsPaused(left)) << left;
    ASSERT_FALSE(sink.evaluations.empty());
    EXPECT_EQ(sink.evaluations.back().step, step);
    EXPECT_EQ(sink.steps.back().step, step) << "no step more";
    for (const StepEvent& event : sink.steps) losses.push_back(event.loss);
    options.resume_from = absl::StrCat(options.checkpoint_directory, "/", step);
    // Asked again, it has nothing to do.
    RecordingSink again;
    EXPECT_TRUE(IsPaused(
        Train(options, GoldenRows(), *MakeAdapter(*model, AllParts()), &evaluator, again, stop)
            .status()));
    EXPECT_THAT(again.steps, IsEmpty());
  }
  RecordingSink sink;
  options.pause_at_step = 9;  // Its last: it is done.
  adapter = MakeAdapter(*model, AllParts());
  ASSERT_TRUE(Train(options, GoldenRows(), *adapter, &evaluator, sink, stop).ok());
  for (const StepEvent& event : sink.steps) losses.push_back(event.loss);
  EXPECT_EQ(HashOf(*adapter), HashOf(*whole));
  ASSERT_EQ(losses.size(), undisturbed.steps.size());
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_EQ(losses[i], undisturbed.steps[i].loss);
}

// A run of two epochs, gone on from for a third, is one of three.
TEST(TrainerTest, MoreEpochsAreThoseOfALongerRun) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.schedule = Schedule::kConstant;
  options.config.early_stopping.patience = 1;
  LossEvaluator evaluator;
  NoStop stop;
  RecordingSink whole, first, more;
  const std::unique_ptr<AdapterSet> longer = MakeAdapter(*model, OnlyLora());
  ASSERT_TRUE(Train(options, GoldenRows(), *longer, &evaluator, whole, stop).ok());

  options.checkpoint_directory = FreshDirectory("two_epochs");
  options.config.epochs = 2;
  ASSERT_TRUE(
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), &evaluator, first, stop).ok());
  options.resume_from = first.checkpoints.back().directory;
  options.continues = "jobs/a/checkpoints/6";
  const std::unique_ptr<AdapterSet> adapter = MakeAdapter(*model, OnlyLora(), 99);
  const absl::Status done = Train(options, GoldenRows(), *adapter, &evaluator, more, stop).status();
  EXPECT_EQ(done.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(done.message(),
              HasSubstr("the checkpoint is at step 6 already, and the whole run has 6"));
  options.config.epochs = 3;
  ASSERT_TRUE(Train(options, GoldenRows(), *adapter, &evaluator, more, stop).ok());
  EXPECT_EQ(HashOf(*adapter), HashOf(*longer));
  ASSERT_EQ(more.steps.size(), 3u);
  EXPECT_EQ(more.steps[2].loss, whole.steps[8].loss);
  EXPECT_EQ(more.evaluations[0].values, whole.evaluations[2].values);
}

TEST(TrainerTest, PatienceBeginsAnewWhereAnotherJobIsGoneOnFrom) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.epochs = 9;
  options.config.early_stopping.patience = 2;
  options.checkpoint_directory = FreshDirectory("patience");
  NoStop stop;
  RecordingSink first, again, more;
  ScriptedEvaluator stops({1, 2, 3});
  ASSERT_TRUE(
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), &stops, first, stop).ok());
  options.resume_from = options.checkpoint_directory + "/9";
  ScriptedEvaluator later({1.5, 1.6, 1.7});
  ASSERT_TRUE(
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), &later, again, stop).ok());
  EXPECT_TRUE(again.steps.empty()) << "it has stopped";
  options.continues = "jobs/a/checkpoints/9";
  const auto result =
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), &later, more, stop);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(later.steps, ElementsAre(12, 15));
  EXPECT_EQ(result->best_step, 3) << "the best so far stays";
}

// The other job was stopped in an evaluation, and this one in the step after it.
TEST(TrainerTest, PatienceBeginsAnewOnceAndNotAtEachResumption) {
  class StopsAtSix : public ScriptedEvaluator {
   public:
    using ScriptedEvaluator::ScriptedEvaluator;
    absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network& network, int64_t step,
                                             EvaluationKeeper& keeper, StopToken& stop) override {
      if (step == 6) return absl::CancelledError("stopped");
      return ScriptedEvaluator::Evaluate(network, step, keeper, stop);
    }
  };
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.epochs = 9;
  options.config.early_stopping.patience = 1;
  options.checkpoint_directory = FreshDirectory("stopped");
  NoStop stop;
  RecordingSink sink;
  StopsAtSix stops({1});
  EXPECT_EQ(Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), &stops, sink, stop)
                .status()
                .code(),
            absl::StatusCode::kCancelled);
  options.resume_from = options.checkpoint_directory + "/6";
  options.continues = "jobs/a/checkpoints/6";
  options.checkpoint_directory = FreshDirectory("child");
  ScriptedEvaluator evaluator({2, 0.5});
  for (int attempt = 1; attempt <= 2; ++attempt) {
    RecordingSink own;
    ASSERT_TRUE(
        Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), &evaluator, own, stop).ok());
    EXPECT_TRUE(own.steps.empty()) << "the evaluation at step 6 was no better, and stops it";
    options.resume_from = options.checkpoint_directory + "/6";
  }
  EXPECT_THAT(evaluator.steps, ElementsAre(6));
}

TEST(TrainerTest, AnEarlierBuildsCheckpointGoesOnInItsOwnJobOnly) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.fingerprint = "whole";
  options.checkpoint_directory = FreshDirectory("format3");
  RecordingSink sink;
  NoStop stop;
  const auto train = [&] {
    return Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), nullptr, sink, stop)
        .status();
  };
  ASSERT_TRUE(train().ok());
  options.resume_from = options.checkpoint_directory + "/6";
  const std::string json =
      absl::StrReplaceAll(*ReadFile(options.resume_from + "/state.json", 1 << 20),
                          {{"\"format\": 4", "\"format\": 3"}});
  const std::string sums = *ReadFile(options.resume_from + "/SHA256SUMS", 1 << 20);
  ASSERT_TRUE(WriteFileAtomically(options.resume_from + "/state.json", json).ok());
  ASSERT_TRUE(
      WriteFileAtomically(options.resume_from + "/SHA256SUMS", Sha256Hex(json) + sums.substr(64))
          .ok());
  options.fingerprint = "fixed";
  options.earlier_fingerprint = "whole";
  EXPECT_TRUE(train().ok());
  options.earlier_fingerprint = "another";
  EXPECT_EQ(train().code(), absl::StatusCode::kFailedPrecondition);
  options.continues = "jobs/a/checkpoints/6";
  const absl::Status other_job = train();
  EXPECT_EQ(other_job.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FailureClassOf(other_job), FailureClass::kConfig);
  EXPECT_THAT(other_job.message(), HasSubstr("an earlier build saved jobs/a/checkpoints/6"));
}

TEST(TrainerTest, TheLastStepIsEvaluatedWhateverTheInterval) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.max_steps = 5;
  options.config.eval_every_steps = 2;
  ScriptedEvaluator evaluator({3, 2, 1});
  RecordingSink sink;
  NoStop stop;
  ASSERT_TRUE(
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), &evaluator, sink, stop).ok());
  EXPECT_THAT(evaluator.steps, ElementsAre(2, 4, 5));
  ASSERT_EQ(sink.steps.size(), 5u);
  EXPECT_EQ(sink.steps[4].total_steps, 5);
  EXPECT_EQ(sink.steps[3].epoch, 1 + 1.0 / 3);
  EXPECT_DOUBLE_EQ(sink.steps[4].learning_rate, 1e-2 / 5);
  EXPECT_GT(sink.steps[4].tokens_per_second, 0);
}

TEST(TrainerTest, DivergenceStopsTheRunAndNamesTheStep) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.learning_rates["lora"] = 1e30;
  RecordingSink sink;
  NoStop stop;
  const absl::Status status =
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), nullptr, sink, stop).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(status.message(), HasSubstr("step 2"));
  EXPECT_EQ(sink.steps.size(), 1u);
}

TEST(TrainerTest, DivergenceNamesTheLinesOfTheFile) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  class LaterRows : public GoldenRows {
   public:
    int64_t Line(int64_t index) const override { return 10 * index + 5; }
  };
  const auto all = std::make_shared<LaterRows>();
  TrainerOptions options = SmallOptions();
  options.config.batch_size = 3;
  options.config.learning_rates["lora"] = 1e30;
  RecordingSink sink;
  NoStop stop;
  const absl::Status status = Train(options, RowSubset(all, {2, 3, 4}),
                                    *MakeAdapter(*model, OnlyLora()), nullptr, sink, stop)
                                  .status();
  EXPECT_THAT(status.message(), HasSubstr("the rows at lines "));
  for (const char* line : {"25", "35", "45"}) EXPECT_THAT(status.message(), HasSubstr(line));
}

TEST(TrainerTest, DivergenceCanSkipTheUpdateAndTellsOfIt) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.learning_rates["lora"] = 1e30;
  options.config.max_steps = 3;
  options.config.eval_every_steps = 1;
  options.config.on_divergence = DivergencePolicy::kSkip;
  ScriptedEvaluator evaluator({1, std::nan(""), std::nan("")});
  RecordingSink sink;
  NoStop stop;
  const std::unique_ptr<AdapterSet> adapter = MakeAdapter(*model, OnlyLora());
  const absl::StatusOr<TrainingResult> result =
      Train(options, GoldenRows(), *adapter, &evaluator, sink, stop);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->best_step, 1);
  ASSERT_EQ(sink.divergences.size(), 2u);
  EXPECT_EQ(sink.divergences[0].step, 2);
  EXPECT_EQ(sink.divergences[0].action, DivergenceAction::kSkipped);
  EXPECT_TRUE(at::isfinite(adapter->tensors()[0].tensor).all().item<bool>());
}

TEST(TrainerTest, WithNothingFiniteToPublishTheRunFailsWhateverThePolicy) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.learning_rates["lora"] = 1e30;
  options.config.on_divergence = DivergencePolicy::kSkip;
  const auto expect_failure = [&](int max_steps, Evaluator* evaluator, const std::string& text) {
    options.config.max_steps = max_steps;
    RecordingSink sink;
    NoStop stop;
    const absl::Status status =
        Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), evaluator, sink, stop)
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
    EXPECT_THAT(status.message(), HasSubstr(text));
    EXPECT_THAT(status.message(), HasSubstr("a smaller learning rate"));
  };
  expect_failure(1, nullptr,
                 "step 1: after its update the loss is ");  // Finite until the last update.
  expect_failure(3, nullptr, "step 3: after its update the loss is ");
  expect_failure(30, nullptr, "step 4: loss ");  // A whole epoch of three steps was skipped.
  LossEvaluator evaluator;
  expect_failure(3, &evaluator, "step 3: no evaluation");
  options.config.on_divergence = DivergencePolicy::kStop;
  expect_failure(1, &evaluator, "step 1: no evaluation");
}

TEST(TrainerTest, TensorsThatCannotBePublishedAreNamed) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();  // fp64: published as F32.
  TrainerOptions options = SmallOptions();
  options.config.learning_rates["lora"] = 1e50;
  options.config.max_steps = 1;
  ScriptedEvaluator evaluator({1});
  RecordingSink sink;
  NoStop stop;
  const absl::Status status =
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), &evaluator, sink, stop)
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_THAT(status.message(), HasSubstr("at step 1: tensor h.0.attn.c_attn.lora_"));
}

class LongRow : public ExampleSource {
 public:
  explicit LongRow(int64_t length) : ids_(length, 1) {}
  int64_t size() const override { return ids_.empty() ? 0 : 2; }
  Example Get(int64_t index) const override {
    return {std::span(ids_).first(index == 0 ? 2 : ids_.size()), 1};
  }
  int64_t Line(int64_t index) const override { return index + 7; }

 private:
  std::vector<int32_t> ids_;
};

TEST(TrainerTest, RowsThatCannotBeTrainedOnAreRefused) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  RecordingSink sink;
  NoStop stop;
  const auto status = [&](int64_t length) {
    return Train(SmallOptions(), LongRow(length), *MakeAdapter(*model, AllParts()), nullptr, sink,
                 stop)
        .status();
  };
  EXPECT_TRUE(status(21).ok());  // 24 positions, 3 of them virtual.
  EXPECT_EQ(status(22).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status(22).message(),
              HasSubstr("the row at line 8 of the training set has 22 tokens"));
  EXPECT_EQ(status(0).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ValidationLossTest, IsTheMeanOverTokensWhateverTheBatchSize) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  NoStop stop;
  const absl::StatusOr<ValidationLoss> one =
      ComputeValidationLoss(model->network(), GoldenRows(), 1, stop);
  int64_t rows = 0;
  const absl::StatusOr<ValidationLoss> all = ComputeValidationLoss(
      model->network(), GoldenRows(), 5, stop, [&](int64_t more) { rows += more; });
  EXPECT_EQ(rows, GoldenRows().size());
  ASSERT_TRUE(one.ok() && all.ok());
  EXPECT_EQ(one->num_tokens, 21);
  EXPECT_NEAR(one->loss, all->loss, 1e-12);
  std::vector<double> one_by_one;  // The loss of each row.
  for (const int64_t batch : {1, 2, 5}) {
    LossSum whole;
    const auto again =
        ComputeValidationLoss(model->network(), GoldenRows(), batch, stop, {}, &whole);
    ASSERT_TRUE(again.ok());
    const std::vector<RowLoss>& of_rows = whole.of_rows;
    const auto alone = ComputeRowLosses(model->network(), GoldenRows(), batch, stop);
    ASSERT_TRUE(alone.ok());
    ASSERT_EQ(of_rows.size(), 5u);
    ASSERT_EQ(alone->size(), 5u);
    double sum = 0;
    int64_t tokens = 0;
    for (size_t i = 0; i < of_rows.size(); ++i) {
      EXPECT_EQ(of_rows[i].index, static_cast<int64_t>(i));
      EXPECT_EQ((*alone)[i].sum, of_rows[i].sum) << "the same bits";
      if (batch == 1) one_by_one.push_back(of_rows[i].sum);
      EXPECT_NEAR(of_rows[i].sum, one_by_one[i], 1e-9) << i << " of " << batch;
      sum += of_rows[i].sum;
      tokens += of_rows[i].num_tokens;
    }
    EXPECT_EQ(tokens, 21);
    EXPECT_NEAR(sum / 21, one->loss, 1e-12);
  }
  StopAtPoll at_once(1);
  EXPECT_EQ(ComputeValidationLoss(model->network(), GoldenRows(), 2, at_once).status().code(),
            absl::StatusCode::kCancelled);
}

// More rows than are told of. The second has no label.
class ManyRows : public ExampleSource {
 public:
  int64_t size() const override { return kMaxRowLosses + 5; }
  Example Get(int64_t index) const override {
    return {std::span(ids_).first(index == 1 ? 1 : 2), 1};
  }
  int64_t Line(int64_t index) const override { return index + 1; }

 private:
  const std::vector<int32_t> ids_ = {3, 7};
};

TEST(ValidationLossTest, TheFirstRowsThatHaveALabelAreTold) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  NoStop stop;
  LossSum whole;
  ASSERT_TRUE(ComputeValidationLoss(model->network(), ManyRows(), 512, stop, {}, &whole).ok());
  ASSERT_EQ(std::ssize(whole.of_rows), kMaxRowLosses);
  EXPECT_EQ(whole.of_rows[0].index, 0);
  EXPECT_EQ(whole.of_rows[1].index, 2);
  EXPECT_EQ(whole.of_rows.back().index, kMaxRowLosses);
  int64_t done = 0;
  const auto alone = ComputeRowLosses(model->network(), ManyRows(), 512, stop,
                                      [&done](int64_t rows) { done += rows; });
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(std::ssize(*alone), kMaxRowLosses);
  EXPECT_EQ(done, kMaxRowLosses + 5);
  EXPECT_EQ(EndOfToldRows(ManyRows(), 0), kMaxRowLosses + 1);
}

}  // namespace
}  // namespace graft
