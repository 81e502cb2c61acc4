// Several trainings in one pass: worker/engine/training/trainer.cc and trial.cc.

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <deque>

#include "common/methods/full.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"

namespace graft {
namespace {

// Its first rows only, so that epochs and step ends differ.
class FirstRows : public ExampleSource {
 public:
  explicit FirstRows(int64_t count) : count_(count) {}
  int64_t size() const override { return count_; }
  Example Get(int64_t index) const override { return rows_.Get(index); }

 private:
  const GoldenRows rows_;
  const int64_t count_;
};

struct Variant {
  MethodConfig method;
  TrainerOptions options = SmallOptions();
  int64_t rows = 5;
  int64_t stop_at = 1 << 30;
};

// Ranks, methods, rates, seeds, batch sizes and accumulations, dropout, data: all differ.
std::vector<Variant> DifferentVariants() {
  std::vector<Variant> variants(5);
  for (Variant& variant : variants) variant.options.config.max_steps = 20;
  variants[0].method = OnlyLora();
  variants[1].method.Set(LoraConfig{.rank = 4, .dropout = 0.3});
  variants[1].options.config.seed = 7;
  variants[1].options.config.learning_rates["lora"] = 3e-3;
  variants[2].method.Set(SoftPromptConfig{.num_virtual_tokens = 4});
  variants[2].options.config.batch_size = 3;
  variants[3].method = AllParts();
  variants[3].options.config.attention_dropout = 0.2;
  variants[3].options.config.residual_dropout = 0.2;
  variants[3].options.config.batch_size = 1;
  variants[3].options.config.gradient_accumulation_steps = 3;
  variants[4].method.Set(FullConfig());
  variants[4].rows = 3;
  variants[4].options.config.max_steps = 6;
  variants[4].options.config.embedding_dropout = 0.1;
  return variants;
}

struct TrainedTogether {
  absl::StatusOr<TrainingResult> result = absl::UnknownError("not variant");
  std::vector<double> losses;
  std::vector<at::Tensor> tensors;
};

std::vector<TrainedTogether> TrainAll(const Gpt2Model& model, const std::vector<Variant>& variants,
                                      Evaluator* evaluator = nullptr) {
  std::vector<std::unique_ptr<AdapterSet>> adapters;
  std::deque<FirstRows> rows;
  std::deque<RecordingSink> sinks(variants.size());
  std::deque<StopAtPoll> stops;
  std::vector<TrialParts> parts;
  for (size_t i = 0; i < variants.size(); ++i) {
    adapters.push_back(MakeAdapter(model, variants[i].method));
    stops.emplace_back(variants[i].stop_at);
    parts.push_back({variants[i].options, rows.emplace_back(variants[i].rows), *adapters[i],
                     evaluator, sinks[i], stops[i]});
  }
  std::vector<absl::StatusOr<TrainingResult>> results = TrainTogether(parts);
  std::vector<TrainedTogether> outcomes(variants.size());
  for (size_t i = 0; i < variants.size(); ++i) {
    outcomes[i].result = std::move(results[i]);
    for (const StepEvent& step : sinks[i].steps) outcomes[i].losses.push_back(step.loss);
    for (const TrainedTensor& trained : adapters[i]->tensors()) {
      outcomes[i].tensors.push_back(trained.tensor.detach().clone());
    }
  }
  return outcomes;
}

void ExpectAsAlone(const Gpt2Model& model, const std::vector<Variant>& variants,
                   const std::vector<TrainedTogether>& together, double tolerance) {
  for (size_t i = 0; i < variants.size(); ++i) {
    const TrainedTogether alone = std::move(TrainAll(model, {variants[i]})[0]);
    ASSERT_TRUE(alone.result.ok()) << i << ": " << alone.result.status();
    ASSERT_TRUE(together[i].result.ok()) << i << ": " << together[i].result.status();
    ASSERT_EQ(together[i].losses.size(), alone.losses.size()) << i;
    for (size_t step = 0; step < alone.losses.size(); ++step) {
      EXPECT_NEAR(together[i].losses[step] / alone.losses[step], 1, tolerance) << i << ", " << step;
    }
    if (model.dtype() != at::kDouble) continue;  // AdamW makes much of the last bits of a gradient.
    for (size_t t = 0; t < alone.tensors.size(); ++t) {
      EXPECT_LT(RelativeDifference(together[i].tensors[t], alone.tensors[t]), 1e-8)
          << i << ", tensor " << t;
    }
  }
}

TEST(TrialsTogetherTest, EachHasTheNumbersThatItHasAlone) {
  const std::vector<Variant> variants = DifferentVariants();
  for (const auto& [dtype, tolerance] :
       std::vector<std::pair<at::ScalarType, double>>{{at::kDouble, 1e-10}, {at::kFloat, 1e-6}}) {
    const std::unique_ptr<Gpt2Model> model = GoldenModel(dtype);
    ExpectAsAlone(*model, variants, TrainAll(*model, variants), tolerance);
  }
}

TEST(TrialsTogetherTest, WhatEndsOneEndsNoOther) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  std::vector<Variant> variants = DifferentVariants();
  variants[1].stop_at = 8;
  variants[2].options.config.learning_rates = {{"lora", 1}};
  const std::vector<TrainedTogether> together = TrainAll(*model, variants);
  EXPECT_TRUE(absl::IsCancelled(together[1].result.status())) << together[1].result.status();
  EXPECT_EQ(together[1].losses.size(), 7u);
  EXPECT_THAT(std::string(together[2].result.status().message()),
              testing::HasSubstr("has none for soft_prompt"));
  for (const size_t other : {0, 3, 4}) {
    ExpectAsAlone(*model, {variants[other]}, {together[other]}, 1e-10);
  }
}

TEST(TrialsTogetherTest, EachKeepsItsOwnBestEvaluation) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const std::vector<Variant> variants = DifferentVariants();
  LossEvaluator evaluator;
  const std::vector<TrainedTogether> together = TrainAll(*model, variants, &evaluator);
  for (size_t i = 0; i < variants.size(); ++i) {
    const TrainedTogether alone = std::move(TrainAll(*model, {variants[i]}, &evaluator)[0]);
    ASSERT_TRUE(together[i].result.ok()) << together[i].result.status();
    EXPECT_EQ(together[i].result->best_step, alone.result->best_step) << i;
    EXPECT_NEAR(together[i].result->best.values.at("eval/loss"),
                alone.result->best.values.at("eval/loss"), 1e-10);
  }
}

}  // namespace
}  // namespace graft
