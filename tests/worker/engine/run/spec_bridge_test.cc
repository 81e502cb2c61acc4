#include "worker/engine/run/spec_bridge.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/soft_prompt.h"

#include <gmock/gmock.h>

namespace graft {
namespace {

using testing::ElementsAre;

TEST(SpecBridgeTest, WhatASpecDoesNotSetIsTheDocumentedDefault) {
  v1::FineTuneSpec spec;
  spec.mutable_method()->mutable_lora();
  spec.mutable_method()->mutable_soft_prompt();
  spec.mutable_method()->mutable_last_layers();
  const FineTuneConfig config = ToConfig(spec);
  EXPECT_EQ(config.method.Find<LoraConfig>()->rank, 8);
  EXPECT_EQ(config.method.Find<LoraConfig>()->alpha, 16);
  EXPECT_THAT(config.method.Find<LoraConfig>()->target_modules, ElementsAre("c_attn"));
  EXPECT_EQ(config.method.Find<SoftPromptConfig>()->num_virtual_tokens, 20);
  EXPECT_EQ(config.method.Find<SoftPromptConfig>()->init, SoftPromptConfig::Init::kVocabulary);
  EXPECT_EQ(config.method.Find<LastLayersConfig>()->num_layers, 2);
  EXPECT_TRUE(config.method.Find<LastLayersConfig>()->include_final_norm);
  EXPECT_FALSE(config.method.Has("full"));
  EXPECT_EQ(config.training.seed, 42u);
  EXPECT_EQ(config.training.learning_rates.at("soft_prompt"), 3e-2);
  EXPECT_EQ(config.training.early_stopping.metric, "eval/loss");
  EXPECT_FALSE(ToDropoutChoice(spec.training()).residual.has_value());
}

TEST(SpecBridgeTest, ZeroIsNotTheSameAsUnset) {
  v1::FineTuneSpec spec;
  spec.mutable_method()->mutable_last_layers()->set_num_layers(0);
  spec.mutable_method()->mutable_last_layers()->set_include_final_norm(false);
  spec.mutable_training()->set_max_grad_norm(0);
  spec.mutable_training()->mutable_early_stopping()->set_patience(0);
  spec.mutable_training()->set_residual_dropout(0);
  spec.mutable_evaluation()->set_max_samples(0);
  spec.mutable_evaluation()->set_use_stemmer(false);
  const FineTuneConfig config = ToConfig(spec);
  EXPECT_EQ(config.method.Find<LastLayersConfig>()->num_layers, 0);
  EXPECT_FALSE(config.method.Find<LastLayersConfig>()->include_final_norm);
  EXPECT_EQ(config.training.max_grad_norm, 0);
  EXPECT_EQ(config.training.early_stopping.patience, 0);
  EXPECT_EQ(config.evaluation.max_samples, 0);
  EXPECT_FALSE(config.evaluation.use_stemmer);
  EXPECT_EQ(ToDropoutChoice(spec.training()).residual, 0.0);
}

TEST(SpecBridgeTest, EveryFieldOfAFullSpecArrives) {
  v1::FineTuneSpec spec;
  v1::DataSpec& data = *spec.mutable_data();
  data.set_source_field("s");
  data.set_target_field("t");
  data.set_prompt_template("{source}!");
  data.set_max_source_tokens(7);
  data.set_max_target_tokens(6);
  data.set_validation_fraction(0.25);
  data.set_max_train_rows(5);
  data.set_max_validation_rows(4);
  v1::Lora& lora = *spec.mutable_method()->mutable_lora();
  lora.set_rank(3);
  lora.set_alpha(4);
  lora.set_dropout(0.5);
  lora.add_target_modules("mlp.c_fc");
  lora.add_layers(1);
  lora.set_use_rslora(true);
  lora.set_learning_rate(0.125);
  v1::SoftPrompt& prompt = *spec.mutable_method()->mutable_soft_prompt();
  prompt.set_init(v1::SoftPrompt::INIT_TEXT);
  prompt.set_init_text("hello");
  v1::TrainingSpec& training = *spec.mutable_training();
  training.set_max_steps(9);
  training.set_batch_size(2);
  training.set_gradient_accumulation_steps(3);
  training.set_schedule(v1::SCHEDULE_COSINE);
  training.set_warmup_ratio(0.5);
  training.set_weight_decay(0.25);
  training.set_beta1(0.5);
  training.set_beta2(0.75);
  training.set_eps(1e-3);
  training.set_seed(11);
  training.set_precision(v1::PRECISION_BF16);
  training.set_threads(5);
  training.set_eval_every_steps(8);
  training.mutable_early_stopping()->set_metric("eval/rougeL");
  training.mutable_early_stopping()->set_min_delta(0.5);
  training.mutable_checkpoint()->set_every_steps(6);
  training.mutable_checkpoint()->set_keep_last(4);
  training.set_on_divergence(v1::DIVERGENCE_POLICY_SKIP);
  v1::GenerationOptions& generation = *spec.mutable_evaluation()->mutable_generation();
  generation.set_do_sample(true);
  generation.set_top_k(12);
  generation.set_num_beams(3);
  generation.set_length_penalty(-0.5);
  generation.set_early_stopping(v1::BEAM_EARLY_STOPPING_NEVER);
  generation.set_repetition_penalty(1.5);
  generation.set_no_repeat_ngram_size(2);

  const FineTuneConfig config = ToConfig(spec);
  EXPECT_EQ(config.data.source_field, "s");
  EXPECT_EQ(config.data.target_field, "t");
  EXPECT_EQ(config.data.prompt_template, "{source}!");
  EXPECT_EQ(config.data.max_source_tokens, 7);
  EXPECT_EQ(config.data.max_target_tokens, 6);
  EXPECT_EQ(config.data.validation_fraction, 0.25);
  EXPECT_EQ(config.data.max_train_rows, 5);
  EXPECT_EQ(config.data.max_validation_rows, 4);
  EXPECT_EQ(config.method.Find<LoraConfig>()->rank, 3);
  EXPECT_EQ(config.method.Find<LoraConfig>()->alpha, 4);
  EXPECT_EQ(config.method.Find<LoraConfig>()->dropout, 0.5);
  EXPECT_THAT(config.method.Find<LoraConfig>()->target_modules, ElementsAre("mlp.c_fc"));
  EXPECT_THAT(config.method.Find<LoraConfig>()->layers, ElementsAre(1));
  EXPECT_TRUE(config.method.Find<LoraConfig>()->use_rslora);
  EXPECT_EQ(config.training.learning_rates.at("lora"), 0.125);
  EXPECT_EQ(config.method.Find<SoftPromptConfig>()->init, SoftPromptConfig::Init::kText);
  EXPECT_EQ(config.method.Find<SoftPromptConfig>()->init_text, "hello");
  EXPECT_EQ(config.training.max_steps, 9);
  EXPECT_EQ(config.training.batch_size, 2);
  EXPECT_EQ(config.training.gradient_accumulation_steps, 3);
  EXPECT_EQ(config.training.schedule, Schedule::kCosine);
  EXPECT_EQ(config.training.warmup_ratio, 0.5);
  EXPECT_EQ(config.training.weight_decay, 0.25);
  EXPECT_EQ(config.training.beta1, 0.5);
  EXPECT_EQ(config.training.beta2, 0.75);
  EXPECT_EQ(config.training.eps, 1e-3);
  EXPECT_EQ(config.training.seed, 11u);
  EXPECT_EQ(config.training.precision, Precision::kBf16);
  EXPECT_EQ(config.training.threads, 5);
  EXPECT_EQ(config.training.eval_every_steps, 8);
  EXPECT_EQ(config.training.early_stopping.metric, "eval/rougeL");
  EXPECT_EQ(config.training.early_stopping.min_delta, 0.5);
  EXPECT_EQ(config.training.checkpoint_every_steps, 6);
  EXPECT_EQ(config.training.checkpoint_keep_last, 4);
  EXPECT_EQ(config.training.on_divergence, DivergencePolicy::kSkip);
  training.set_on_divergence(v1::DIVERGENCE_POLICY_ROLL_BACK);
  EXPECT_EQ(ToConfig(spec).training.on_divergence, DivergencePolicy::kRollBack);
  EXPECT_TRUE(config.evaluation.generation.do_sample);
  EXPECT_EQ(config.evaluation.generation.top_k, 12);
  EXPECT_EQ(config.evaluation.generation.num_beams, 3);
  EXPECT_EQ(config.evaluation.generation.length_penalty, -0.5);
  EXPECT_EQ(config.evaluation.generation.early_stopping, BeamEarlyStopping::kNever);
  EXPECT_EQ(config.evaluation.generation.repetition_penalty, 1.5);
  EXPECT_EQ(config.evaluation.generation.no_repeat_ngram_size, 2);
}

TEST(SpecBridgeTest, EventsKeepTheirNumbers) {
  StepEvent step = {5, 0.5, 10, 1.25, 2, 1e-3, 100};
  const v1::JobEvent metrics = ToProto(step);
  EXPECT_EQ(metrics.metrics().step(), 5);
  EXPECT_EQ(metrics.metrics().values().at("train/loss"), 1.25);
  EXPECT_EQ(metrics.metrics().values().at("train/tokens_per_second"), 100);

  StageEvent stage;
  stage.batch_size = 2;
  stage.gradient_accumulation_steps = 4;
  EXPECT_EQ(ToProto(stage).stage_change().batch_size(), 2);
  EXPECT_EQ(ToProto(stage).stage_change().gradient_accumulation_steps(), 4);

  EvaluationEvent evaluation;
  evaluation.values = {{"eval/loss", 2}};
  evaluation.is_best = true;
  EXPECT_FALSE(ToProto(evaluation).evaluation().has_fingerprint());
  evaluation.num_samples = 3;
  evaluation.truncated_sources = 1;
  evaluation.decoding = "greedy";
  const v1::EvaluationResult result = ToProto(evaluation).evaluation();
  EXPECT_TRUE(result.is_best());
  EXPECT_EQ(result.fingerprint().num_samples(), 3);
  EXPECT_EQ(result.fingerprint().truncated_sources(), 1);
  EXPECT_EQ(result.fingerprint().decoding(), "greedy");
}

TEST(SpecBridgeTest, ADivergenceKeepsItsRows) {
  DivergenceEvent event;
  event.step = 7;
  event.loss = 3;
  event.rows = {{12, 14, "a", "The cat", 2, 1}, {13, 15, "", "", 4, 5}};
  event.action = DivergenceAction::kRolledBack;
  event.rolled_back_to_step = 4;
  const v1::Divergence divergence = ToProto(event).divergence();
  EXPECT_EQ(divergence.step(), 7);
  EXPECT_EQ(divergence.loss(), 3);
  ASSERT_EQ(divergence.rows_size(), 2);
  EXPECT_EQ(divergence.rows(0).row(), 12);
  EXPECT_EQ(divergence.rows(0).line(), 14);
  EXPECT_EQ(divergence.rows(0).id(), "a");
  EXPECT_EQ(divergence.rows(0).source(), "The cat");
  EXPECT_EQ(divergence.rows(1).loss(), 4);
  EXPECT_EQ(divergence.rows(1).grad_norm(), 5);
  EXPECT_EQ(divergence.action(), v1::DIVERGENCE_ACTION_ROLLED_BACK);
  EXPECT_EQ(divergence.rolled_back_to_step(), 4);
}

TEST(SpecBridgeTest, StatusAndClassKeepTheirMeaning) {
  EXPECT_EQ(StatusToProto(absl::NotFoundError("x")).code(), 5);
  EXPECT_EQ(StatusToProto(absl::NotFoundError("x")).message(), "x");
  EXPECT_EQ(ToProto(FailureClass::kOutOfMemory), v1::FAILURE_CLASS_OUT_OF_MEMORY);
  EXPECT_EQ(ToProto(FailureClassOf(absl::OutOfRangeError("nan"))), v1::FAILURE_CLASS_DIVERGED);
  EXPECT_EQ(ToProto(FailureClassOf(
                WithFailureClass(absl::InvalidArgumentError("line 3"), FailureClass::kData))),
            v1::FAILURE_CLASS_DATA);
  EXPECT_EQ(ToProto(FailureClassOf(absl::ResourceExhaustedError("disk"))),
            v1::FAILURE_CLASS_INFRASTRUCTURE);
}

}  // namespace
}  // namespace graft
