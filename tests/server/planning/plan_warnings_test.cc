#include "server/planning/plan_warnings.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A job of which nothing is to be said, on 1,000 rows and 500 of validation.
class PlanWarningsTest : public ::testing::Test {
 protected:
  PlanWarningsTest() {
    v1::FineTuneSpec& spec = *plan_.mutable_resolved_spec()->mutable_fine_tune();
    spec.mutable_data()->set_train("news");
    spec.mutable_data()->set_validation("valid");
    spec.mutable_method()->mutable_lora()->set_learning_rate(2e-4);
    spec.mutable_training()->mutable_early_stopping()->set_metric("eval/loss");
    spec.mutable_evaluation()->set_max_samples(32);
    plan_.set_total_steps(100);
    Fill(data_.train, "news", 1000);
    Fill(data_.validation, "valid", 500);
  }
  static void Fill(PartFigures& part, const char* name, int64_t rows) {
    part.plan.set_dataset(name);
    part.plan.set_rows(rows);
    part.plan.set_rows_read(rows);
    part.plan.mutable_target()->set_limit(128);
    part.plan.mutable_target()->set_p95(200);
    part.letters = part.rouge_letters = 1000;
  }
  v1::FineTuneSpec& spec() { return *plan_.mutable_resolved_spec()->mutable_fine_tune(); }
  std::vector<v1::PlanWarning> Ask(int64_t warmup_steps = 0, double wished = 0) {
    return PlanWarnings(plan_, warmup_steps, data_, wished);
  }
  // The only one there is.
  v1::PlanWarning Only(int64_t warmup_steps = 0, double wished = 0) {
    const std::vector<v1::PlanWarning> warnings = Ask(warmup_steps, wished);
    EXPECT_THAT(warnings, SizeIs(1));
    return warnings.empty() ? v1::PlanWarning() : warnings[0];
  }

  v1::JobPlan plan_;
  DataFigures data_;
};

TEST_F(PlanWarningsTest, AUsualJobHasNone) { EXPECT_THAT(Ask(), IsEmpty()); }

TEST_F(PlanWarningsTest, ValidationInTrainingIsToldWithLines) {
  data_.overlap.same_sources = 4;
  data_.overlap.same_pairs = 3;
  data_.overlap.same = {{1, 7}, {2, 8}, {5, 9}};
  const v1::PlanWarning warning = Only();
  EXPECT_EQ(warning.code(), "VALIDATION_IN_TRAINING");
  EXPECT_EQ(warning.field(), "fine_tune.data.validation");
  EXPECT_EQ(warning.text(),
            "4 of 500 rows of the validation have a text that is trained on, too, 3 of them with "
            "the same target: lines (validation = training) 1 = 7, 2 = 8, 5 = 9, …; what is "
            "learned by heart passes for what is understood: take them out of one side");
}

TEST_F(PlanWarningsTest, NearDuplicatesAreAWarningOfTheirOwn) {
  spec().mutable_data()->set_validation_fraction(0.1);
  data_.overlap.near_sources = 1;
  data_.overlap.near = {{3, 4}};
  const v1::PlanWarning warning = Only();
  EXPECT_EQ(warning.code(), "VALIDATION_NEARLY_IN_TRAINING");
  EXPECT_EQ(warning.field(), "fine_tune.data.validation_fraction");
  EXPECT_THAT(warning.text(), HasSubstr("(validation = training) 3 = 4; "));
}

TEST_F(PlanWarningsTest, EmptyTargetsAndSourcesAreToldOfEachPart) {
  data_.train.empty_targets = {2, 17};
  data_.validation.empty_sources = {1, 3};
  const auto warnings = Ask();
  ASSERT_THAT(warnings, SizeIs(2));
  EXPECT_EQ(warnings[0].code(), "TARGETS_EMPTY");
  EXPECT_EQ(warnings[0].field(), "fine_tune.data.train");
  EXPECT_EQ(
      warnings[0].text(),
      "2 of 1000 rows of \"news\" have an empty target, the first at line 17: leave them out");
  EXPECT_EQ(warnings[1].code(), "SOURCES_EMPTY");
  EXPECT_EQ(warnings[1].field(), "fine_tune.data.validation");
}

TEST_F(PlanWarningsTest, TargetsThatAreCutAreToldFromAHundredthOn) {
  data_.train.plan.mutable_target()->set_rows_cut(9);
  EXPECT_THAT(Ask(), IsEmpty());
  data_.train.plan.mutable_target()->set_rows_cut(10);
  data_.train.plan.set_rows(5000);
  const v1::PlanWarning warning = Only();
  EXPECT_EQ(warning.code(), "TARGETS_CUT");
  EXPECT_EQ(warning.field(), "fine_tune.data.max_target_tokens");
  EXPECT_THAT(warning.text(), HasSubstr("10 of the first 1000 rows of \"news\" are cut to 128"));
  EXPECT_THAT(warning.text(), HasSubstr("95 % have at most 200"));
}

TEST_F(PlanWarningsTest, AWarmUpAsLongAsTheRunIsTooLong) {
  EXPECT_THAT(Ask(99), IsEmpty());
  spec().mutable_training()->set_warmup_steps(100);
  EXPECT_EQ(Only(100).code(), "WARMUP_TOO_LONG");
  EXPECT_EQ(Only(100).field(), "fine_tune.training.warmup_steps");
  EXPECT_THAT(Only(100).text(), HasSubstr("takes 100 steps and the run has 100"));
  plan_.set_total_steps(0);  // Not known.
  EXPECT_THAT(Ask(100), IsEmpty());
}

TEST_F(PlanWarningsTest, ARateFarFromItsMethodsIsUnusual) {
  v1::Method& method = *spec().mutable_method();
  method.mutable_soft_prompt()->set_learning_rate(3e-2);
  EXPECT_THAT(Ask(), IsEmpty());
  method.mutable_lora()->set_learning_rate(5.9e-3);
  EXPECT_THAT(Ask(), IsEmpty());
  method.mutable_lora()->set_learning_rate(6.1e-3);
  EXPECT_EQ(Only().code(), "LEARNING_RATE_UNUSUAL");
  EXPECT_EQ(Only().field(), "fine_tune.method.lora.learning_rate");
  EXPECT_EQ(Only().text(),
            "a learning rate of 0.0061 is high for lora, which begins with 0.0002; usual are 7e-06 "
            "to 0.006");
  spec().mutable_training()->set_learning_rate(6.1e-3);  // Whence the part has it.
  EXPECT_EQ(Only().field(), "fine_tune.training.learning_rate");
  method.mutable_lora()->set_learning_rate(2e-4);
  method.mutable_soft_prompt()->set_learning_rate(2e-4);
  EXPECT_THAT(Only().text(), HasSubstr("is low for soft_prompt"));
}

TEST_F(PlanWarningsTest, AValidationTooSmallForTheWishSaysHowManyItTakes) {
  data_.validation.plan.set_rows(100);
  const v1::PlanWarning warning = Only();
  EXPECT_EQ(warning.code(), "VALIDATION_TOO_SMALL");
  EXPECT_EQ(warning.field(), "fine_tune.data.validation");
  EXPECT_EQ(warning.text(),
            "100 rows of the validation can show a difference of 0.021 ROUGE-Lsum; for 0.010 it "
            "takes 424");
  EXPECT_THAT(Ask(0, 0.03), IsEmpty());
  EXPECT_THAT(Only(0, 0.005).text(), HasSubstr("for 0.005 it takes 1695"));
}

TEST_F(PlanWarningsTest, WhoGoesByRougeGoesByTheRowsWithTexts) {
  spec().mutable_training()->mutable_early_stopping()->set_metric("eval/rougeL");
  const v1::PlanWarning warning = Only();
  EXPECT_EQ(warning.field(), "fine_tune.evaluation.max_samples");
  EXPECT_THAT(warning.text(), HasSubstr("32 rows of the validation that texts are made for"));
  spec().mutable_evaluation()->set_max_samples(-1);
  EXPECT_THAT(Ask(), IsEmpty());
}

TEST_F(PlanWarningsTest, AnEvaluationIsJudgedByItsTexts) {
  v1::EvaluateSpec& spec = *plan_.mutable_resolved_spec()->mutable_evaluate();
  data_.train = PartFigures();
  spec.mutable_evaluation()->set_max_samples(10);
  EXPECT_EQ(Only().field(), "evaluate.evaluation.max_samples");
  spec.mutable_evaluation()->set_max_samples(0);  // Only the loss.
  EXPECT_THAT(Ask(), IsEmpty());
}

TEST_F(PlanWarningsTest, ScriptsThatRougeDoesNotCountAreTold) {
  data_.validation.rouge_letters = 499;
  EXPECT_EQ(Only().code(), "ROUGE_CANNOT_COUNT");
  EXPECT_THAT(Only().text(), HasSubstr("which 50 % of the targets' letters are"));
  spec().mutable_evaluation()->set_max_samples(0);
  EXPECT_THAT(Ask(), IsEmpty());
}

TEST_F(PlanWarningsTest, WithoutAValidationNothingIsSaidOfIt) {
  spec().mutable_data()->clear_validation();
  data_.validation = PartFigures();
  EXPECT_THAT(Ask(), IsEmpty());
}

}  // namespace
}  // namespace graft
