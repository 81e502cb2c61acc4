#include <string>
#include <vector>

#include "common/jobs/job_spec.h"
#include "common/methods/method_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/jobs/job_spec_fixture.h"

namespace graft {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

using SpecResolutionTest = JobSpecTest;

TEST_F(SpecResolutionTest, SmallestSpecGetsEveryDefault) {
  const v1::FineTuneSpec spec = ResolvedFineTune(LoraSpec());
  EXPECT_EQ(spec.base_model_sha256(), model_.sha256());
  EXPECT_EQ(spec.data().train_sha256(), train_.sha256());
  EXPECT_EQ(spec.data().validation_sha256(), validation_.sha256());
  EXPECT_EQ(spec.data().source_field(), "document");
  EXPECT_EQ(spec.data().target_field(), "summary");
  EXPECT_EQ(spec.data().prompt_template(), "{source}\nTL;DR:");
  EXPECT_EQ(spec.data().max_source_tokens(), 512);
  EXPECT_EQ(spec.data().max_target_tokens(), 128);
  const v1::Lora& lora = spec.method().lora();
  EXPECT_EQ(lora.rank(), 8);
  EXPECT_EQ(lora.alpha(), 16);
  EXPECT_EQ(lora.dropout(), 0);
  EXPECT_THAT(lora.target_modules(), ElementsAre("c_attn"));
  EXPECT_THAT(lora.layers(), SizeIs(12));
  EXPECT_EQ(lora.learning_rate(), 2e-4);
  const v1::TrainingSpec& training = spec.training();
  EXPECT_EQ(training.epochs(), 10);
  EXPECT_FALSE(training.has_max_steps());
  EXPECT_EQ(training.batch_size(), 8);
  EXPECT_EQ(training.gradient_accumulation_steps(), 1);
  EXPECT_EQ(training.schedule(), v1::SCHEDULE_LINEAR);
  EXPECT_EQ(training.max_grad_norm(), 1.0);
  EXPECT_EQ(training.beta1(), 0.9);
  EXPECT_EQ(training.beta2(), 0.999);
  EXPECT_EQ(training.eps(), 1e-8);
  EXPECT_EQ(training.seed(), 42u);
  EXPECT_EQ(training.threads(), 3);
  EXPECT_EQ(training.precision(), v1::PRECISION_AUTO);
  EXPECT_TRUE(training.has_residual_dropout());
  EXPECT_EQ(training.residual_dropout(), 0);
  EXPECT_EQ(training.early_stopping().metric(), "eval/loss");
  EXPECT_EQ(training.early_stopping().patience(), 2);
  EXPECT_EQ(training.checkpoint().keep_last(), 2);
  EXPECT_EQ(training.on_divergence(), v1::DIVERGENCE_POLICY_STOP);
  EXPECT_EQ(spec.evaluation().max_samples(), 32);
  EXPECT_EQ(spec.evaluation().max_new_tokens(), 128);
  EXPECT_EQ(spec.evaluation().generation_batch_size(), 16);
  const v1::GenerationOptions& generation = spec.evaluation().generation();
  EXPECT_EQ(generation.num_beams(), 1);
  EXPECT_EQ(generation.length_penalty(), 1.0);
  EXPECT_EQ(generation.early_stopping(), v1::BEAM_EARLY_STOPPING_FALSE);
  EXPECT_EQ(generation.repetition_penalty(), 1.0);
  EXPECT_TRUE(generation.has_no_repeat_ngram_size());
  EXPECT_TRUE(spec.evaluation().use_stemmer());
}

TEST_F(SpecResolutionTest, ResolvingTwiceChangesNothing) {
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->mutable_method()->mutable_soft_prompt();
  const auto once = Resolve(spec);
  ASSERT_TRUE(once.ok());
  const auto twice = Resolve(*once);
  ASSERT_TRUE(twice.ok()) << twice.status();
  EXPECT_EQ(once->DebugString(), twice->DebugString());
}

TEST_F(SpecResolutionTest, EachPartOfAHybridHasItsOwnLearningRate) {
  v1::JobSpec spec = LoraSpec();
  v1::Method& method = *spec.mutable_fine_tune()->mutable_method();
  method.mutable_soft_prompt();
  method.mutable_last_layers();
  v1::Method resolved = ResolvedFineTune(spec).method();
  EXPECT_EQ(resolved.lora().learning_rate(), 2e-4);
  EXPECT_EQ(resolved.soft_prompt().learning_rate(), 3e-2);
  EXPECT_EQ(resolved.last_layers().learning_rate(), 1e-4);

  spec.mutable_fine_tune()->mutable_training()->set_learning_rate(0.5);
  method.mutable_lora()->set_learning_rate(0.25);
  resolved = ResolvedFineTune(spec).method();
  EXPECT_EQ(resolved.lora().learning_rate(), 0.25);
  EXPECT_EQ(resolved.soft_prompt().learning_rate(), 0.5);
  EXPECT_EQ(resolved.last_layers().learning_rate(), 0.5);
}

TEST_F(SpecResolutionTest, LoraLeavesTheBlocksThatLastLayersTrainWhole) {
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->mutable_method()->mutable_last_layers()->set_num_layers(10);
  EXPECT_THAT(ResolvedFineTune(spec).method().lora().layers(), ElementsAre(0, 1));
  spec.mutable_fine_tune()->mutable_method()->mutable_lora()->add_layers(5);
  EXPECT_THAT(FieldsOf(Resolve(spec).status()),
              ElementsAre("spec.fine_tune.method.lora.layers[0]"));
  spec.mutable_fine_tune()->mutable_method()->mutable_lora()->clear_layers();
  spec.mutable_fine_tune()->mutable_method()->mutable_last_layers()->set_num_layers(12);
  EXPECT_THAT(FieldsOf(Resolve(spec).status()), ElementsAre("spec.fine_tune.method.lora.layers"));
}

TEST_F(SpecResolutionTest, TrainedTrunkKeepsTheConfigsDropout) {
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->mutable_method()->mutable_last_layers();
  EXPECT_FALSE(ResolvedFineTune(spec).training().has_residual_dropout());
  spec.mutable_fine_tune()->mutable_method()->mutable_last_layers()->set_num_layers(0);
  EXPECT_TRUE(ResolvedFineTune(spec).training().has_residual_dropout());
  EXPECT_EQ(ResolvedFineTune(spec).training().residual_dropout(), 0);
}

TEST_F(SpecResolutionTest, LengthsShrinkWithTheModel) {
  model_.set_n_positions(256);
  v1::JobSpec spec = LoraSpec();
  const v1::FineTuneSpec lora = ResolvedFineTune(spec);
  EXPECT_EQ(lora.data().max_target_tokens(), 44);
  EXPECT_EQ(lora.data().max_source_tokens(), 180);
  EXPECT_EQ(lora.evaluation().max_new_tokens(), 44);
  // The same for a soft prompt of ordinary size, so that the two compare.
  spec.mutable_fine_tune()->mutable_method()->mutable_soft_prompt();
  const v1::FineTuneSpec hybrid = ResolvedFineTune(spec);
  EXPECT_EQ(hybrid.data().max_source_tokens(), 180);
  EXPECT_EQ(hybrid.data().max_target_tokens(), 44);
  for (const int n_positions : {4, 8, 16, 64, 128, 640, 700, 800, 4096}) {
    model_.set_n_positions(n_positions);
    spec.mutable_fine_tune()->mutable_method()->mutable_soft_prompt()->set_num_virtual_tokens(2);
    const v1::FineTuneSpec resolved = ResolvedFineTune(spec);
    EXPECT_LE(resolved.data().max_source_tokens() + resolved.data().max_target_tokens() + 2,
              n_positions);
    EXPECT_LE(resolved.data().max_source_tokens() + resolved.evaluation().max_new_tokens() + 2,
              n_positions);
  }
}

TEST_F(SpecResolutionTest, OneGivenLengthLeavesTheRestToTheOther) {
  model_.set_n_positions(256);
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->mutable_data()->set_max_source_tokens(250);
  EXPECT_EQ(ResolvedFineTune(spec).data().max_target_tokens(), 6);
  spec.mutable_fine_tune()->mutable_data()->clear_max_source_tokens();
  spec.mutable_fine_tune()->mutable_data()->set_max_target_tokens(250);
  EXPECT_EQ(ResolvedFineTune(spec).data().max_source_tokens(), 6);
  spec.mutable_fine_tune()->mutable_data()->set_max_source_tokens(7);
  const absl::Status status = Resolve(spec).status();
  EXPECT_THAT(FieldsOf(status), ElementsAre("spec.fine_tune.data.max_source_tokens"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("longer than the model"));
}

TEST_F(SpecResolutionTest, SoftPromptMustFitTheModel) {
  v1::JobSpec spec = LoraSpec();
  v1::SoftPrompt& prompt = *spec.mutable_fine_tune()->mutable_method()->mutable_soft_prompt();
  prompt.set_num_virtual_tokens(1022);
  const v1::FineTuneSpec resolved = ResolvedFineTune(spec);
  EXPECT_EQ(resolved.data().max_source_tokens(), 1);
  EXPECT_EQ(resolved.data().max_target_tokens(), 1);
  // Told once, with what there is room for; the lengths that it would leave are no news.
  for (const int tokens : {1023, 1024, 5000}) {
    prompt.set_num_virtual_tokens(tokens);
    const absl::Status status = Resolve(spec).status();
    EXPECT_THAT(FieldsOf(status),
                ElementsAre("spec.fine_tune.method.soft_prompt.num_virtual_tokens"));
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("gpt2 has 1024 positions, of which a text needs 2; must be 1 to 1022"));
  }
  model_.set_n_positions(2);
  const absl::Status status = Resolve(spec).status();
  EXPECT_THAT(FieldsOf(status),
              ElementsAre("spec.fine_tune.method.soft_prompt.num_virtual_tokens"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("there is no room for a soft prompt"));
  model_.set_n_positions(1);
  EXPECT_THAT(FieldsOf(Resolve(spec).status()), ElementsAre("spec.fine_tune.base_model"));
}

TEST_F(SpecResolutionTest, PlainTextHasNoPromptAndNoSamples) {
  train_.add_fields("text");
  validation_.add_fields("text");
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->mutable_data()->set_text_field("text");
  const v1::FineTuneSpec resolved = ResolvedFineTune(spec);
  EXPECT_FALSE(resolved.data().has_prompt_template());
  EXPECT_FALSE(resolved.data().has_max_source_tokens());
  EXPECT_EQ(resolved.evaluation().max_samples(), 0);
  spec.mutable_fine_tune()->mutable_evaluation()->set_max_samples(5);
  EXPECT_THAT(FieldsOf(Resolve(spec).status()),
              ElementsAre("spec.fine_tune.evaluation.max_samples"));
}

TEST_F(SpecResolutionTest, WithoutValidationThereIsNoStoppingAndNoSampling) {
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->mutable_data()->clear_validation();
  const v1::FineTuneSpec resolved = ResolvedFineTune(spec);
  EXPECT_EQ(resolved.training().early_stopping().patience(), 0);
  EXPECT_EQ(resolved.evaluation().max_samples(), 0);
  spec.mutable_fine_tune()->mutable_training()->mutable_early_stopping()->set_patience(1);
  EXPECT_THAT(FieldsOf(Resolve(spec).status()),
              ElementsAre("spec.fine_tune.training.early_stopping.patience"));
}

// What the server prints is a spec again.
TEST_F(SpecResolutionTest, AResolvedSpecResolvesToItself) {
  train_.add_fields("text");
  validation_.add_fields("text");
  std::vector<v1::JobSpec> specs = {EvaluateSpec()};
  for (const char* method : {"lora", "soft_prompt", "last_layers", "full", "hybrid"}) {
    for (const bool text : {false, true}) {
      for (const char* validation : {"none", "fraction", "set"}) {
        v1::JobSpec& job = specs.emplace_back(LoraSpec());
        v1::FineTuneSpec& spec = *job.mutable_fine_tune();
        const std::string name = method;
        if (name != "lora" && name != "hybrid") spec.clear_method();
        if (name == "soft_prompt" || name == "hybrid") spec.mutable_method()->mutable_soft_prompt();
        if (name == "last_layers" || name == "hybrid") spec.mutable_method()->mutable_last_layers();
        if (name == "full") spec.mutable_method()->mutable_full();
        if (text) spec.mutable_data()->set_text_field("text");
        if (*validation == 'n') spec.mutable_data()->clear_validation();
        if (*validation == 'f') spec.mutable_data()->set_validation_fraction(0.1);
      }
    }
  }
  for (const v1::JobSpec& spec : specs) {
    const auto resolved = Resolve(spec);
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    const auto again = Resolve(*resolved);
    ASSERT_TRUE(again.ok()) << again.status() << spec.DebugString();
    EXPECT_EQ(again->DebugString(), resolved->DebugString());
  }
}

TEST_F(SpecResolutionTest, HeldOutFractionLeavesRowsToTrain) {
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->mutable_data()->set_validation_fraction(0.5);
  EXPECT_TRUE(Resolve(spec).ok());
  spec.mutable_fine_tune()->mutable_data()->set_max_train_rows(1);
  EXPECT_THAT(FieldsOf(Resolve(spec).status()),
              ElementsAre("spec.fine_tune.data.validation_fraction"));
}

TEST_F(SpecResolutionTest, AsManyRowsAreHeldOutAsTheEngineHoldsOut) {
  v1::JobSpec spec = LoraSpec();
  v1::DataSpec& data = *spec.mutable_fine_tune()->mutable_data();
  data.set_max_train_rows(3);
  data.set_validation_fraction(0.6666666667);  // Of 3 it is a little over 2, so all 3.
  EXPECT_THAT(std::string(Resolve(spec).status().message()), HasSubstr("holds out 3 of 3 rows"));
  data.set_validation_fraction(0.6666666666);
  EXPECT_TRUE(Resolve(spec).ok());
}

TEST_F(SpecResolutionTest, InitFromFillsWhatIsOpenAndMustAgree) {
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->set_init_from("old");
  const v1::FineTuneSpec resolved = ResolvedFineTune(spec);
  EXPECT_EQ(resolved.method().lora().rank(), 4);
  EXPECT_EQ(resolved.init_from_sha256(), adapter_.sha256());
  spec.mutable_fine_tune()->mutable_method()->mutable_lora()->set_rank(8);
  EXPECT_THAT(FieldsOf(Resolve(spec).status()), ElementsAre("spec.fine_tune.method.lora.rank"));
  spec.mutable_fine_tune()->mutable_method()->mutable_soft_prompt();
  EXPECT_THAT(FieldsOf(Resolve(spec).status()), ElementsAre("spec.fine_tune.method"));
  adapter_.set_base_model_sha256(std::string(64, '0'));
  EXPECT_THAT(FieldsOf(Resolve(spec).status()), Contains("spec.fine_tune.init_from"));
}

TEST_F(SpecResolutionTest, DoraHasLorasDefaultsAndGoesOnFromADoraOnly) {
  v1::JobSpec spec = LoraSpec();
  v1::Lora& lora = *spec.mutable_fine_tune()->mutable_method()->mutable_lora();
  lora.set_use_dora(true);
  const v1::FineTuneSpec resolved = ResolvedFineTune(spec);
  EXPECT_EQ(MethodName(resolved.method()), "dora");
  EXPECT_EQ(resolved.method().lora().rank(), 8);
  EXPECT_EQ(resolved.method().lora().learning_rate(), 2e-4);
  spec.mutable_fine_tune()->set_init_from("old");
  EXPECT_THAT(std::string(Resolve(spec).status().message()),
              HasSubstr("spec.fine_tune.method: is dora, but init_from names old, which is lora"));
  adapter_.mutable_method()->mutable_lora()->set_use_dora(true);
  lora.set_use_dora(false);
  EXPECT_EQ(MethodName(ResolvedFineTune(spec).method()), "dora");
}

TEST_F(SpecResolutionTest, APrefixTakesPositionsAndStandsAlone) {
  v1::JobSpec spec = LoraSpec();
  v1::Method& method = *spec.mutable_fine_tune()->mutable_method();
  method.Clear();
  method.mutable_prefix_tuning();
  const v1::FineTuneSpec resolved = ResolvedFineTune(spec);
  EXPECT_EQ(MethodName(resolved.method()), "prefix_tuning");
  EXPECT_EQ(resolved.method().prefix_tuning().num_virtual_tokens(), 20);
  EXPECT_EQ(resolved.method().prefix_tuning().learning_rate(), 1e-2);
  EXPECT_EQ(NumVirtualTokens(resolved.method()), 20);
  EXPECT_EQ(resolved.training().residual_dropout(), 0);
  method.mutable_prefix_tuning()->set_num_virtual_tokens(1023);
  EXPECT_THAT(std::string(Resolve(spec).status().message()), HasSubstr("must be 1 to 1022"));
  method.mutable_prefix_tuning()->set_num_virtual_tokens(0);
  EXPECT_THAT(FieldsOf(Resolve(spec).status()),
              ElementsAre("spec.fine_tune.method.prefix_tuning.num_virtual_tokens"));
  method.mutable_prefix_tuning()->clear_num_virtual_tokens();
  method.mutable_soft_prompt();
  EXPECT_THAT(std::string(Resolve(spec).status().message()),
              HasSubstr("spec.fine_tune.method.prefix_tuning: stands alone: PEFT loads nothing "
                        "else beside a prefix"));
}

TEST_F(SpecResolutionTest, EvaluationTakesItsModelFromTheAdapter) {
  v1::JobSpec spec;
  spec.mutable_evaluate()->set_adapter("old");
  spec.mutable_evaluate()->mutable_data()->set_validation("valid");
  const auto resolved = Resolve(spec);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->evaluate().base_model(), "gpt2");
  EXPECT_EQ(resolved->evaluate().adapter_sha256(), adapter_.sha256());
  EXPECT_EQ(resolved->evaluate().evaluation().max_samples(), -1);
  EXPECT_TRUE(resolved->evaluate().evaluation().lead3_baseline());
  EXPECT_TRUE(resolved->evaluate().evaluation().has_oracle_baseline());
  EXPECT_FALSE(resolved->evaluate().evaluation().oracle_baseline());
  EXPECT_TRUE(resolved->evaluate().evaluation().has_train_row_losses());
  EXPECT_EQ(resolved->evaluate().batch_size(), 8);
  EXPECT_EQ(resolved->evaluate().threads(), 3);
}

class AdapterEvaluationTest : public JobSpecTest {
 protected:
  AdapterEvaluationTest() {
    adapter_.mutable_trained_with()->set_prompt_template("{source} =>");
    adapter_.mutable_trained_with()->set_max_source_tokens(300);
    adapter_.mutable_trained_with()->set_max_target_tokens(60);
    spec_.mutable_evaluate()->set_adapter("old");
    spec_.mutable_evaluate()->mutable_data()->set_validation("valid");
  }
  v1::DataSpec& data() { return *spec_.mutable_evaluate()->mutable_data(); }
  v1::EvaluateSpec Resolved() {
    const auto resolved = Resolve(spec_);
    EXPECT_TRUE(resolved.ok()) << resolved.status();
    if (!resolved.ok()) return {};
    warnings_ = WarningsOf(*resolved, FactsOf(spec_));
    return resolved->evaluate();
  }

  v1::JobSpec spec_;
  std::vector<v1::Warning> warnings_;
};

TEST_F(AdapterEvaluationTest, TemplateAndLengthsAreThoseOfItsTraining) {
  const v1::EvaluateSpec resolved = Resolved();
  EXPECT_EQ(resolved.data().prompt_template(), "{source} =>");
  EXPECT_EQ(resolved.data().max_source_tokens(), 300);
  EXPECT_EQ(resolved.data().max_target_tokens(), 60);
  EXPECT_EQ(resolved.data().source_field(), "document");
  EXPECT_EQ(resolved.evaluation().max_new_tokens(), 128) << "by the same rule as in training";
  EXPECT_TRUE(warnings_.empty());
  adapter_.clear_trained_with();
  EXPECT_EQ(Resolved().data().max_source_tokens(), 512);
}

TEST_F(AdapterEvaluationTest, ItsSummariesAreAsLongAsInTraining) {
  model_.set_n_positions(256);
  v1::JobSpec training = LoraSpec();
  training.mutable_fine_tune()->mutable_data()->set_max_source_tokens(172);
  training.mutable_fine_tune()->mutable_data()->set_max_target_tokens(56);
  const v1::FineTuneSpec trained = ResolvedFineTune(training);
  *adapter_.mutable_trained_with() = trained.data();
  EXPECT_EQ(Resolved().evaluation().max_new_tokens(), trained.evaluation().max_new_tokens());
  EXPECT_EQ(trained.evaluation().max_new_tokens(), 56);
}

TEST_F(AdapterEvaluationTest, WhatIsSetOtherwiseCountsAndIsTold) {
  data().set_prompt_template("{source}\nTL;DR:");
  data().set_max_target_tokens(61);
  const v1::EvaluateSpec resolved = Resolved();
  EXPECT_EQ(resolved.data().prompt_template(), "{source}\nTL;DR:");
  EXPECT_EQ(resolved.data().max_source_tokens(), 300);
  EXPECT_EQ(resolved.data().max_target_tokens(), 61);
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_EQ(warnings_[0].code(), "NOT_AS_TRAINED");
  EXPECT_EQ(warnings_[0].text(),
            "old was trained otherwise: prompt_template is \"{source}\\nTL;DR:\" instead of "
            "\"{source} =>\", max_target_tokens is 61 instead of 60; its scores may be worse for "
            "that");
  // What is set as it was is no news.
  data().set_prompt_template("{source} =>");
  data().set_max_target_tokens(60);
  Resolved();
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(AdapterEvaluationTest, AGivenLengthLeavesTheTrainedOneTheRest) {
  model_.set_n_positions(400);
  data().set_max_source_tokens(380);
  EXPECT_EQ(Resolved().data().max_target_tokens(), 20);
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0].text(), HasSubstr("max_target_tokens is 20 instead of 60"));
  data().clear_max_source_tokens();
  data().set_max_target_tokens(150);
  EXPECT_EQ(Resolved().data().max_source_tokens(), 250);
  data().set_max_target_tokens(400);
  EXPECT_THAT(FieldsOf(Resolve(spec_).status()),
              ElementsAre("spec.evaluate.data.max_target_tokens"));
}

TEST_F(AdapterEvaluationTest, PlainTextTakesNothingFromIt) {
  validation_.add_fields("text");
  data().set_text_field("text");
  const v1::EvaluateSpec resolved = Resolved();
  EXPECT_FALSE(resolved.data().has_prompt_template());
  EXPECT_FALSE(resolved.data().has_max_source_tokens());
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(AdapterEvaluationTest, APromptThatLeavesNoRoomIsToldOnce) {
  adapter_.mutable_method()->mutable_soft_prompt()->set_num_virtual_tokens(1023);
  const absl::Status status = Resolve(spec_).status();
  EXPECT_THAT(FieldsOf(status), ElementsAre("spec.evaluate.adapter"));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("gpt2 has 1024 positions, less the adapter's 1023 virtual tokens: a prompt "
                        "and what follows it need 2"));
}

class SeveralAdaptersTest : public AdapterEvaluationTest {
 protected:
  SeveralAdaptersTest() {
    spec_.mutable_evaluate()->clear_adapter();
    for (const char* name : {"a", "b", "c"}) {
      v1::Adapter& adapter = adapters_.emplace_back(adapter_);
      adapter.set_name(name);
      adapter.set_sha256(std::string(64, *name));
      spec_.mutable_evaluate()->add_adapters(name);
    }
  }
};

TEST_F(SeveralAdaptersTest, WhatTheyAgreeOnIsTheJobs) {
  adapters_[1].clear_trained_with();  // It says nothing, and so disagrees with nobody.
  const v1::EvaluateSpec resolved = Resolved();
  EXPECT_EQ(resolved.base_model(), "gpt2");
  EXPECT_THAT(resolved.adapters_sha256(),
              ElementsAre(std::string(64, 'a'), std::string(64, 'b'), std::string(64, 'c')));
  EXPECT_EQ(resolved.adapter_sha256(), "");
  EXPECT_EQ(resolved.data().prompt_template(), "{source} =>");
  EXPECT_EQ(resolved.data().max_source_tokens(), 300);
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(SeveralAdaptersTest, WhereTheyWereTrainedOtherwiseTheJobMustSay) {
  adapters_[1].mutable_trained_with()->set_prompt_template("{source}\nTL;DR:");
  adapters_[2].mutable_trained_with()->set_max_target_tokens(70);
  const absl::Status status = Resolve(spec_).status();
  EXPECT_THAT(FieldsOf(status), ElementsAre("spec.evaluate.data.prompt_template",
                                            "spec.evaluate.data.max_target_tokens"));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("must be set: a was trained with \"{source} =>\", b with "
                        "\"{source}\\nTL;DR:\""));
  EXPECT_THAT(std::string(status.message()), HasSubstr("a was trained with 60, c with 70"));
  data().set_prompt_template("{source} =>");
  data().set_max_target_tokens(60);
  EXPECT_EQ(Resolved().data().max_source_tokens(), 300);
  ASSERT_EQ(warnings_.size(), 2u) << "one for each that differs";
  EXPECT_THAT(warnings_[0].text(), HasSubstr("b was trained otherwise: prompt_template is"));
  EXPECT_THAT(warnings_[1].text(), HasSubstr("c was trained otherwise: max_target_tokens is 60"));
}

TEST_F(SeveralAdaptersTest, OneOfAnotherBaseModelIsRefusedByItsPlace) {
  adapters_[2].set_base_model("other");
  adapters_[2].set_base_model_sha256(std::string(64, 'e'));
  const absl::Status status = Resolve(spec_).status();
  EXPECT_THAT(FieldsOf(status), ElementsAre("spec.evaluate.adapters[2]"));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("c was made for the base model other (eeeeeeeeeeee), not for gpt2"));
}

TEST_F(SeveralAdaptersTest, TextsAreCutForTheOneThatLeavesThemLeast) {
  model_.set_n_positions(400);
  adapters_[1].mutable_method()->mutable_soft_prompt()->set_num_virtual_tokens(50);
  EXPECT_EQ(Resolved().data().max_source_tokens(), 290) << "and 60 of the target";
  EXPECT_EQ(warnings_.size(), 3u) << "all were trained with 300";
  adapters_[1].mutable_method()->mutable_soft_prompt()->set_num_virtual_tokens(399);
  EXPECT_THAT(FieldsOf(Resolve(spec_).status()), ElementsAre("spec.evaluate.adapters[1]"));
}

TEST_F(SpecResolutionTest, AnAdapterThatNoMethodTrainsCannotBeBegunWith) {
  adapter_.set_init_from_error("LoRA on a has rank 2, on b rank 4, but a method has one rank");
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->set_init_from("old");
  const absl::Status status = Resolve(spec).status();
  EXPECT_THAT(FieldsOf(status), ElementsAre("spec.fine_tune.init_from"));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("a job cannot begin with old: LoRA on a has rank 2, on b rank 4, but a "
                        "method has one rank; merge it into its base model, and train that"));
  adapter_.mutable_method()->mutable_soft_prompt();
  EXPECT_THAT(std::string(Resolve(spec).status().message()), Not(HasSubstr("merge")));
  v1::JobSpec evaluation;
  evaluation.mutable_evaluate()->set_adapter("old");
  evaluation.mutable_evaluate()->mutable_data()->set_validation("valid");
  EXPECT_TRUE(Resolve(evaluation).ok());
}

TEST_F(SpecResolutionTest, NamesThatWereNotFoundAreSaid) {
  const auto status = ResolveSpec(LoraSpec(), {}, {}, "spec").status();
  EXPECT_THAT(FieldsOf(status),
              ElementsAre("spec.fine_tune.base_model", "spec.fine_tune.data.train",
                          "spec.fine_tune.data.validation"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("there is no data set train"));
}

}  // namespace
}  // namespace graft
