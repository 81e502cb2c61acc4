#include "client/cli/settings.h"

#include "absl/strings/str_cat.h"
#include "common/jobs/job_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::Model Gpt2() {
  v1::Model model;
  model.set_name("gpt2");
  model.set_sha256(std::string(64, 'a'));
  model.set_n_positions(1024);
  model.set_n_embd(768);
  model.set_n_layer(12);
  model.set_vocab_size(50257);
  return model;
}

v1::JobSpec Lora() {
  v1::JobSpec job;
  v1::FineTuneSpec& spec = *job.mutable_fine_tune();
  spec.set_base_model("gpt2");
  spec.set_output_name("mine");
  spec.mutable_data()->set_train("articles");
  spec.mutable_data()->set_validation_fraction(0.1);
  spec.mutable_method()->mutable_lora();
  return job;
}

std::vector<std::string> Chosen(const v1::JobSpec& spec, const v1::Model* model,
                                const v1::Adapter* adapter = nullptr) {
  std::vector<std::string> lines;
  std::vector<v1::Adapter> adapters;
  if (adapter != nullptr) adapters.push_back(*adapter);
  for (const Setting& setting : ChosenSettings(spec, model, adapters)) {
    lines.push_back(absl::StrCat(setting.path, " ", setting.value));
  }
  return lines;
}

TEST(SettingsTest, NamesAreNoSettings) {
  const v1::Model model = Gpt2();
  EXPECT_THAT(Chosen(Lora(), &model), IsEmpty());
  EXPECT_THAT(Chosen(Lora(), nullptr), IsEmpty());
}

TEST(SettingsTest, WhatIsSetToItsDefaultIsNotChosen) {
  const v1::Model model = Gpt2();
  v1::JobSpec job = Lora();
  v1::FineTuneSpec& spec = *job.mutable_fine_tune();
  spec.mutable_method()->mutable_lora()->set_rank(8);
  spec.mutable_method()->mutable_lora()->add_target_modules("c_attn");
  spec.mutable_training()->set_schedule(v1::SCHEDULE_LINEAR);
  spec.mutable_training()->set_epochs(10);
  spec.mutable_data()->set_prompt_template("{source}\nTL;DR:");
  EXPECT_THAT(Chosen(job, &model), IsEmpty());
}

TEST(SettingsTest, WhatIsSetToSomethingElseIsToldAsAFlagTakesIt) {
  const v1::Model model = Gpt2();
  v1::JobSpec job = Lora();
  v1::FineTuneSpec& spec = *job.mutable_fine_tune();
  spec.mutable_method()->mutable_lora()->set_rank(4);
  spec.mutable_method()->mutable_lora()->add_target_modules("c_attn");
  spec.mutable_method()->mutable_lora()->add_target_modules("c_fc");
  spec.mutable_method()->mutable_lora()->set_use_rslora(true);
  spec.mutable_training()->set_schedule(v1::SCHEDULE_COSINE);
  spec.mutable_training()->set_learning_rate(3e-3);
  spec.mutable_training()->set_seed(7);
  spec.mutable_data()->set_prompt_template("{source}\n\\S:");
  EXPECT_THAT(
      Chosen(job, &model),
      ElementsAre("spec.fine_tune.data.prompt_template {source}\\n\\\\S:",
                  "spec.fine_tune.method.lora.rank 4",
                  "spec.fine_tune.method.lora.target_modules c_attn,c_fc",
                  "spec.fine_tune.method.lora.use_rslora true",
                  "spec.fine_tune.training.learning_rate 0.003",
                  "spec.fine_tune.training.schedule cosine", "spec.fine_tune.training.seed 7"));
}

TEST(SettingsTest, WithoutItsModelAllThatWasSetIsTold) {
  v1::JobSpec job = Lora();
  job.mutable_fine_tune()->mutable_method()->mutable_lora()->set_rank(8);
  EXPECT_THAT(Chosen(job, nullptr), ElementsAre("spec.fine_tune.method.lora.rank 8"));
}

TEST(SettingsTest, AnAdapterToBeginWithMakesItsShapeTheDefault) {
  const v1::Model model = Gpt2();
  v1::Adapter adapter;
  adapter.set_name("first");
  adapter.set_base_model_sha256(model.sha256());
  adapter.mutable_method()->mutable_lora()->set_rank(4);
  v1::JobSpec job = Lora();
  job.mutable_fine_tune()->set_init_from("first");
  job.mutable_fine_tune()->mutable_method()->mutable_lora()->set_rank(4);
  EXPECT_THAT(Chosen(job, &model, &adapter), IsEmpty());
  EXPECT_THAT(Chosen(job, &model), ElementsAre("spec.fine_tune.method.lora.rank 4"));
}

TEST(SettingsTest, AnEvaluationHasItsOwnDefaults) {
  const v1::Model model = Gpt2();
  v1::JobSpec job;
  v1::EvaluateSpec& spec = *job.mutable_evaluate();
  spec.set_base_model("gpt2");
  spec.mutable_data()->set_validation("test");
  spec.set_batch_size(8);
  spec.mutable_evaluation()->set_max_samples(-1);
  EXPECT_THAT(Chosen(job, &model), IsEmpty());
  spec.set_batch_size(16);
  spec.set_precision(v1::PRECISION_FP32);
  spec.set_threads(1);
  spec.mutable_evaluation()->set_lead3_baseline(false);
  EXPECT_THAT(
      Chosen(job, &model),
      ElementsAre("spec.evaluate.evaluation.lead3_baseline false", "spec.evaluate.precision fp32",
                  "spec.evaluate.threads 1", "spec.evaluate.batch_size 16"));
}

TEST(SettingsTest, AResolvedSpecChoosesNothingByItself) {
  const v1::Model model = Gpt2();
  v1::Dataset data;
  data.set_num_rows(100);
  data.add_fields("document");
  data.add_fields("summary");
  const auto resolved = ResolveSpec(Lora(), {.base_model = &model, .train = &data}, {2}, "spec");
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  v1::JobSpec again = *resolved;
  again.mutable_fine_tune()->mutable_training()->clear_threads();
  EXPECT_THAT(Chosen(again, &model), IsEmpty());
}

}  // namespace
}  // namespace graft
