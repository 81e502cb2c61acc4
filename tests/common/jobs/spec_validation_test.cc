#include <functional>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/jobs/job_spec.h"
#include "common/methods/lora.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/jobs/job_spec_fixture.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using SpecValidationTest = JobSpecTest;

struct BadSpec {
  const char* field;
  const char* message;
  std::function<void(v1::FineTuneSpec&)> spoil;
};

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

const BadSpec kBadSpecs[] = {
    {"base_model", "is required", [](auto& s) { s.clear_base_model(); }},
    {"base_model", "dot", [](auto& s) { s.set_base_model("../etc"); }},
    {"data.train", "is required", [](auto& s) { s.mutable_data()->clear_train(); }},
    {"data.validation_fraction", "between 0 and 1",
     [](auto& s) { s.mutable_data()->set_validation_fraction(1); }},
    {"data.validation_fraction", "between 0 and 1",
     [](auto& s) { s.mutable_data()->set_validation_fraction(kNaN); }},
    {"data.source_field", "no field of train, which has document, summary",
     [](auto& s) { s.mutable_data()->set_source_field("text"); }},
    {"data.prompt_template", "has {summary}, but only {source} is filled in; make one field",
     [](auto& s) { s.mutable_data()->set_prompt_template("{source} ({summary}) TL;DR:"); }},
    {"data.target_field", "must not be empty",
     [](auto& s) { s.mutable_data()->set_target_field(""); }},
    {"data.text_field", "excludes",
     [](auto& s) {
       s.mutable_data()->set_text_field("document");
       s.mutable_data()->set_source_field("document");
       s.mutable_evaluation()->set_max_samples(0);
     }},
    {"data.prompt_template", "exactly once",
     [](auto& s) { s.mutable_data()->set_prompt_template("TL;DR:"); }},
    {"data.prompt_template", "exactly once",
     [](auto& s) { s.mutable_data()->set_prompt_template("{source}{source}"); }},
    {"data.max_source_tokens", "must be 1",
     [](auto& s) { s.mutable_data()->set_max_source_tokens(0); }},
    {"data.max_source_tokens", "longer than the model",
     [](auto& s) { s.mutable_data()->set_max_source_tokens(1024); }},
    {"data.max_source_tokens", "longer than the model",
     [](auto& s) {
       s.mutable_data()->set_max_source_tokens(std::numeric_limits<int>::max());
       s.mutable_data()->set_max_target_tokens(std::numeric_limits<int>::max());
     }},
    {"data.max_train_rows", "0 (all)", [](auto& s) { s.mutable_data()->set_max_train_rows(-1); }},
    {"method", "at least one of", [](auto& s) { s.clear_method(); }},
    {"method.full", "stands alone", [](auto& s) { s.mutable_method()->mutable_full(); }},
    {"method.lora.rank", "must be 1",
     [](auto& s) { s.mutable_method()->mutable_lora()->set_rank(0); }},
    {"method.lora.rank", "beyond the layer: gpt2 is 768 wide; must be 1 to 768",
     [](auto& s) { s.mutable_method()->mutable_lora()->set_rank(769); }},
    {"method.lora.alpha", "greater than 0",
     [](auto& s) { s.mutable_method()->mutable_lora()->set_alpha(0); }},
    {"method.lora.dropout", "less than 1",
     [](auto& s) { s.mutable_method()->mutable_lora()->set_dropout(1); }},
    {"method.lora.target_modules[0]", "there are c_attn",
     [](auto& s) { s.mutable_method()->mutable_lora()->add_target_modules("q_proj"); }},
    {"method.lora.target_modules[0]", "no such layer",
     [](auto& s) { s.mutable_method()->mutable_lora()->add_target_modules("attn"); }},
    {"method.lora.target_modules[0]", "no such layer",
     [](auto& s) { s.mutable_method()->mutable_lora()->add_target_modules("_attn"); }},
    {"method.lora.layers[0]", "blocks 0 to 11",
     [](auto& s) { s.mutable_method()->mutable_lora()->add_layers(12); }},
    {"method.lora.layers[1]", "twice",
     [](auto& s) {
       s.mutable_method()->mutable_lora()->add_layers(3);
       s.mutable_method()->mutable_lora()->add_layers(3);
     }},
    {"method.soft_prompt.num_virtual_tokens", "must be 1",
     [](auto& s) { s.mutable_method()->mutable_soft_prompt()->set_num_virtual_tokens(0); }},
    {"method.soft_prompt.init_text", "is required",
     [](auto& s) {
       s.mutable_method()->mutable_soft_prompt()->set_init(v1::SoftPrompt::INIT_TEXT);
     }},
    {"method.soft_prompt.init", "no such",
     [](auto& s) {
       s.mutable_method()->mutable_soft_prompt()->set_init(v1::SoftPrompt::Init(77));
     }},
    {"method.last_layers.num_layers", "must be 0 to 12",
     [](auto& s) {
       s.mutable_method()->clear_lora();
       s.mutable_method()->mutable_last_layers()->set_num_layers(13);
     }},
    {"method.last_layers.num_layers", "nothing would train",
     [](auto& s) {
       s.mutable_method()->mutable_last_layers()->set_num_layers(0);
       s.mutable_method()->mutable_last_layers()->set_include_final_norm(false);
     }},
    {"training.epochs", "must be 1", [](auto& s) { s.mutable_training()->set_epochs(0); }},
    {"training.max_steps", "must be 1", [](auto& s) { s.mutable_training()->set_max_steps(0); }},
    {"training.batch_size", "must be 1 to 1024",
     [](auto& s) { s.mutable_training()->set_batch_size(1025); }},
    {"training.gradient_accumulation_steps", "must be 1",
     [](auto& s) { s.mutable_training()->set_gradient_accumulation_steps(0); }},
    {"training.learning_rate", "greater than 0",
     [](auto& s) { s.mutable_training()->set_learning_rate(kNaN); }},
    {"training.schedule", "no such",
     [](auto& s) { s.mutable_training()->set_schedule(v1::Schedule(9)); }},
    {"training.warmup_ratio", "excludes",
     [](auto& s) {
       s.mutable_training()->set_warmup_ratio(0.1);
       s.mutable_training()->set_warmup_steps(1);
     }},
    {"training.beta2", "less than 1", [](auto& s) { s.mutable_training()->set_beta2(1); }},
    {"training.max_grad_norm", "0 or greater",
     [](auto& s) { s.mutable_training()->set_max_grad_norm(-1); }},
    {"training.threads", "must be 1 to 256",
     [](auto& s) { s.mutable_training()->set_threads(257); }},
    {"training.attention_dropout", "less than 1",
     [](auto& s) { s.mutable_training()->set_attention_dropout(1.5); }},
    {"training.early_stopping.metric", "there are eval/loss",
     [](auto& s) { s.mutable_training()->mutable_early_stopping()->set_metric("loss"); }},
    {"training.early_stopping.metric", "generated texts",
     [](auto& s) {
       s.mutable_training()->mutable_early_stopping()->set_metric("eval/rougeL");
       s.mutable_evaluation()->set_max_samples(0);
     }},
    {"training.checkpoint.keep_last", "must be 1 to 100",
     [](auto& s) { s.mutable_training()->mutable_checkpoint()->set_keep_last(0); }},
    {"evaluation.max_samples", "-1 (all)",
     [](auto& s) { s.mutable_evaluation()->set_max_samples(-2); }},
    {"evaluation.max_new_tokens", "must be 1 to 1023",
     [](auto& s) { s.mutable_evaluation()->set_max_new_tokens(1024); }},
    {"evaluation.generation.top_p", "at most 1",
     [](auto& s) { s.mutable_evaluation()->mutable_generation()->set_top_p(1.1); }},
    {"evaluation.generation.num_beams", "must be 1 to 64",
     [](auto& s) { s.mutable_evaluation()->mutable_generation()->set_num_beams(65); }},
    {"evaluation.generation.num_beams", "not supported",
     [](auto& s) {
       s.mutable_evaluation()->mutable_generation()->set_num_beams(2);
       s.mutable_evaluation()->mutable_generation()->set_do_sample(true);
     }},
    {"evaluation.generation.length_penalty", "finite",
     [](auto& s) { s.mutable_evaluation()->mutable_generation()->set_length_penalty(kNaN); }},
    {"evaluation.generation.early_stopping", "never",
     [](auto& s) {
       s.mutable_evaluation()->mutable_generation()->set_early_stopping(v1::BeamEarlyStopping(9));
     }},
    {"evaluation.generation.repetition_penalty", "greater than 0",
     [](auto& s) { s.mutable_evaluation()->mutable_generation()->set_repetition_penalty(0); }},
    {"evaluation.generation.no_repeat_ngram_size", "must be 0",
     [](auto& s) { s.mutable_evaluation()->mutable_generation()->set_no_repeat_ngram_size(-1); }},
    {"evaluation.untuned_baseline", "evaluate jobs",
     [](auto& s) { s.mutable_evaluation()->set_untuned_baseline(true); }},
    {"evaluation.oracle_baseline", "evaluate jobs",
     [](auto& s) { s.mutable_evaluation()->set_oracle_baseline(true); }},
    {"output_name", "dot", [](auto& s) { s.set_output_name("a/b"); }},
    {"init_from", "full job",
     [](auto& s) {
       s.mutable_method()->clear_lora();
       s.mutable_method()->mutable_full();
       s.set_init_from("old");
     }},
};

TEST_F(SpecValidationTest, EveryBadFieldIsNamedWithWhatWouldBeRight) {
  for (const BadSpec& bad : kBadSpecs) {
    v1::JobSpec spec = LoraSpec();
    bad.spoil(*spec.mutable_fine_tune());
    const absl::Status status = Resolve(spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.field;
    EXPECT_THAT(FieldsOf(status),
                AllOf(Not(IsEmpty()), Each(absl::StrCat("spec.fine_tune.", bad.field))));
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.message));
  }
}

TEST_F(SpecValidationTest, EvaluateSpecsAreCheckedToo) {
  const auto fields = [](const std::function<void(v1::EvaluateSpec&)>& spoil) {
    v1::JobSpec spec = EvaluateSpec();
    spoil(*spec.mutable_evaluate());
    return FieldsOf(ValidateSpec(spec, "spec"));
  };
  EXPECT_THAT(fields([](auto&) {}), IsEmpty());
  EXPECT_THAT(fields([](auto& s) { s.clear_base_model(); }),
              ElementsAre("spec.evaluate.base_model"));
  EXPECT_THAT(fields([](auto& s) { s.clear_data(); }),
              ElementsAre("spec.evaluate.data.validation"));
  EXPECT_THAT(fields([](auto& s) { s.mutable_data()->set_validation_fraction(0.5); }),
              ElementsAre("spec.evaluate.data.validation_fraction"));
  EXPECT_THAT(fields([](auto& s) { s.mutable_evaluation()->set_untuned_baseline(true); }),
              ElementsAre("spec.evaluate.evaluation.untuned_baseline"));
  EXPECT_THAT(fields([](auto& s) { s.mutable_evaluation()->set_train_row_losses(true); }),
              ElementsAre("spec.evaluate.evaluation.train_row_losses"));
  EXPECT_THAT(fields([](auto& s) { s.set_batch_size(0); }),
              ElementsAre("spec.evaluate.batch_size"));
}

TEST_F(SpecValidationTest, SeveralAdaptersAreTwoToSixteenAndNoneIsThereTwice) {
  const auto check = [](const std::vector<std::string>& adapters, const std::string& adapter = "") {
    v1::JobSpec spec = EvaluateSpec();
    v1::EvaluateSpec& evaluate = *spec.mutable_evaluate();
    evaluate.clear_base_model();
    evaluate.set_adapter(adapter);
    evaluate.mutable_adapters()->Assign(adapters.begin(), adapters.end());
    evaluate.mutable_evaluation()->set_untuned_baseline(true);
    return ValidateSpec(spec, "spec");
  };
  EXPECT_TRUE(check({"a", "b"}).ok()) << "the base model is theirs";
  std::vector<std::string> many;
  for (int i = 0; i < 16; ++i) many.push_back(absl::StrCat("a", i));
  EXPECT_TRUE(check(many).ok());
  many.push_back("one-too-many");
  EXPECT_THAT(std::string(check(many).message()),
              HasSubstr("spec.evaluate.adapters: has 17; must have 2 to 16"));
  EXPECT_THAT(std::string(check({"a"}).message()),
              HasSubstr("has 1; must have 2 to 16, one alone is named in adapter"));
  EXPECT_THAT(std::string(check({"a", "b", "a"}).message()),
              HasSubstr("spec.evaluate.adapters[2]: names a again"));
  EXPECT_THAT(FieldsOf(check({"a", "b/c", ""})),
              ElementsAre("spec.evaluate.adapters[1]", "spec.evaluate.adapters[2]"));
  EXPECT_THAT(std::string(check({"a", "b"}, "c").message()),
              HasSubstr("spec.evaluate.adapters: excludes adapter"));
}

TEST_F(SpecValidationTest, OneAnswerNamesEverythingThatIsWrongWithARequest) {
  v1::CreateJobRequest request;
  EXPECT_THAT(FieldsOf(ValidateCreateJob(request)), ElementsAre("job.spec"));
  *request.mutable_job()->mutable_spec() = LoraSpec();
  EXPECT_TRUE(ValidateCreateJob(request).ok());
  request.set_request_id(std::string(129, 'x'));
  v1::Job& job = *request.mutable_job();
  job.set_display_name(std::string(129, 'x'));
  job.set_priority(1001);
  (*job.mutable_labels())["Upper"] = "v";
  (*job.mutable_labels())["long"] = std::string(257, 'v');
  job.mutable_spec()->mutable_fine_tune()->clear_base_model();
  EXPECT_THAT(FieldsOf(ValidateCreateJob(request)),
              ElementsAre("request_id", "job.display_name", "job.priority", "job.labels",
                          "job.labels", "job.spec.fine_tune.base_model"));
  job.clear_labels();
  for (int i = 0; i <= kMaxLabels; ++i) (*job.mutable_labels())[absl::StrCat(i)] = "v";
  EXPECT_THAT(FieldsOf(ValidateCreateJob(request)), Contains("job.labels"));
  EXPECT_FALSE(ValidateRequestId("a b").ok());
  EXPECT_TRUE(ValidateRequestId("").ok());
}

TEST_F(SpecValidationTest, ASpecHasASizeThatAWorkerCanReceive) {
  v1::CreateJobRequest request;
  *request.mutable_job()->mutable_spec() = LoraSpec();
  auto& lora =
      *request.mutable_job()->mutable_spec()->mutable_fine_tune()->mutable_method()->mutable_lora();
  lora.add_target_modules(std::string(kMaxSpecBytes, 'x'));
  const absl::Status refused = ValidateCreateJob(request);
  EXPECT_THAT(FieldsOf(refused), ElementsAre("job.spec"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("at most 262144 are allowed"));
}

TEST_F(SpecValidationTest, TargetsMatchBySuffixAtADot) {
  EXPECT_TRUE(TargetMatches("c_proj", "attn.c_proj"));
  EXPECT_TRUE(TargetMatches("c_proj", "mlp.c_proj"));
  EXPECT_TRUE(TargetMatches("attn.c_proj", "attn.c_proj"));
  EXPECT_FALSE(TargetMatches("attn.c_proj", "mlp.c_proj"));
  EXPECT_FALSE(TargetMatches("proj", "mlp.c_proj"));
  EXPECT_FALSE(TargetMatches("", "mlp.c_proj"));
}

}  // namespace
}  // namespace graft
