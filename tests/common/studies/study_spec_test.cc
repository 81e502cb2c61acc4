#include "common/studies/study_spec.h"

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kTemplate[] =
    "spec_template { fine_tune { data { train: 't' validation: 'v' } training { max_steps: 80 } } "
    "} ";

v1::Study Parsed(const std::string& text) {
  v1::Study study;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &study)) << text;
  return study;
}

std::string Problem(const std::string& text, const std::string& spec = kTemplate) {
  const absl::Status status = ValidateStudy(Parsed(spec + text), "study");
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status));
  return std::string(status.message());
}

std::string Space(const std::string& path, const std::string& values) {
  return " space { key: '" + path + "' value { " + values + " } } ";
}

constexpr char kTwo[] = "choices { values { number_value: 1 } values { number_value: 2 } }";

TEST(StudySpecTest, AStudyNeedsATemplate) {
  EXPECT_THAT(Problem("", ""), HasSubstr("study.spec_template: is required"));
  EXPECT_EQ(Problem(""), "");
}

TEST(StudySpecTest, TheSpaceIsOfFieldsThatThereAre) {
  EXPECT_EQ(Problem(Space("fine_tune.method.lora.rank", kTwo)), "");
  EXPECT_THAT(Problem(Space("fine_tune.method.lora.rang", kTwo)),
              HasSubstr("study.space[\"fine_tune.method.lora.rang\"]: is no field"));
  EXPECT_THAT(Problem(Space("evaluate.batch_size", kTwo)),
              HasSubstr("no field of the template's task"));
  EXPECT_THAT(Problem(Space("fine_tune", kTwo)), HasSubstr("their paths begin with fine_tune."));
  EXPECT_THAT(Problem(Space("fine_tune.output_name", kTwo)), HasSubstr("set by the study itself"));
  EXPECT_THAT(Problem(Space("fine_tune.base_model_sha256", kTwo)),
              HasSubstr("by the study itself"));
  EXPECT_THAT(Problem(Space("fine_tune.method.lora.target_modules.c_attn", kTwo)),
              HasSubstr("is no field"));
}

TEST(StudySpecTest, DimensionsHaveValues) {
  const std::string rank = "fine_tune.method.lora.rank";
  EXPECT_THAT(Problem(Space(rank, "")), HasSubstr("has no values"));
  EXPECT_THAT(Problem(Space(rank, "choices {}")), HasSubstr("has 0 choices"));
  EXPECT_THAT(
      Problem(Space(rank, "choices { values { number_value: 1 } values { number_value: 1 } }")),
      HasSubstr("has a choice twice"));
  EXPECT_THAT(Problem(Space(rank, "range { min: 4 max: 4 steps: 2 }")), HasSubstr("is 4..4"));
  EXPECT_THAT(Problem(Space(rank, "range { min: 1 max: inf steps: 2 }")), HasSubstr("is 1..inf"));
  EXPECT_THAT(Problem(Space(rank, "range { min: nan max: 2 steps: 2 }")), HasSubstr("nan..2"));
  EXPECT_THAT(Problem(Space(rank, "range { min: 1 max: 4 }")), HasSubstr("a grid needs 2 to"));
  EXPECT_EQ(Problem("random { points: 3 }" + Space(rank, "range { min: 1 max: 4 }")), "");
  EXPECT_THAT(Problem(Space(rank, "log_range { min: 0 max: 4 steps: 3 }")),
              HasSubstr("a log range begins above 0"));
  EXPECT_THAT(Problem(Space("fine_tune.method", "range { min: 1 max: 4 steps: 2 }")),
              HasSubstr("is no number"));
}

TEST(StudySpecTest, AFieldIsNotVariedInsideAnotherOne) {
  EXPECT_THAT(Problem(Space("fine_tune.method.lora.rank", kTwo) +
                      Space("fine_tune.method", "choices { values { struct_value {} } }")),
              HasSubstr("lies in fine_tune.method, which is varied as a whole"));
}

TEST(StudySpecTest, RandomSearchNeedsASpaceAndANumber) {
  EXPECT_THAT(Problem("random { points: 3 }"), HasSubstr("nothing to draw from"));
  EXPECT_THAT(Problem("random {}" + Space("fine_tune.method.lora.rank", kTwo)),
              HasSubstr("study.random.points: is 0"));
}

TEST(StudySpecTest, StoppingNeedsStepsAtWhichTrialsAreEvaluated) {
  EXPECT_EQ(Problem("successive_halving { min_steps: 10 }"), "");
  EXPECT_THAT(Problem("successive_halving {}"), HasSubstr("min_steps: is 0; must be 1 to 79"));
  EXPECT_THAT(Problem("successive_halving { min_steps: 80 }"), HasSubstr("must be 1 to 79"));
  EXPECT_THAT(Problem("successive_halving { min_steps: 10 reduction_factor: 1 }"),
              HasSubstr("reduction_factor: is 1; must be 2 to 100"));
  EXPECT_THAT(Problem("successive_halving { min_steps: 10 brackets: 4 }"),
              HasSubstr("brackets: is 4; must be 1 to 2"));
  EXPECT_THAT(Problem("median_stopping { interval_steps: 1 }",
                      "spec_template { fine_tune { data { train: 't' validation: 'v' } training { "
                      "max_steps: 1000 } } } "),
              HasSubstr("makes more than 100 comparisons"));
  const std::string every =
      "spec_template { fine_tune { data { train: 't' validation: 'v' } training { max_steps: 80 "
      "eval_every_steps: 4 } } } ";
  EXPECT_THAT(Problem("successive_halving { min_steps: 10 }", every),
              HasSubstr("must be a multiple of training.eval_every_steps, 4"));
  EXPECT_EQ(Problem("successive_halving { min_steps: 8 }", every), "");
  const std::string epochs =
      "spec_template { fine_tune { data { train: 't' validation: 'v' } training { epochs: 3 } } } ";
  EXPECT_THAT(Problem("median_stopping { interval_steps: 8 }", epochs),
              HasSubstr("needs spec_template.fine_tune.training.max_steps"));
  EXPECT_THAT(
      Problem("successive_halving { min_steps: 10 }" + Space("fine_tune.training.max_steps", kTwo)),
      HasSubstr("must be the same in all trials"));
}

TEST(StudySpecTest, TheObjectiveIsWhatEveryTrialMeasures) {
  EXPECT_THAT(Problem("objective { metric: 'train/loss' }"),
              AllOf(HasSubstr("objective.metric"), HasSubstr("eval/rougeLsum")));
  const std::string none =
      "spec_template { fine_tune { data { train: 't' } training { max_steps: 80 } } } ";
  EXPECT_EQ(Problem("", none), "") << "nothing ranks its trials";
  EXPECT_THAT(Problem("objective { metric: 'eval/loss' }", none),
              HasSubstr("needs validation data"));
  EXPECT_THAT(Problem("successive_halving { min_steps: 10 }", none),
              HasSubstr("needs validation data"));
  EXPECT_THAT(
      Problem("objective { metric: 'eval/rougeL' }",
              "spec_template { fine_tune { data { train: 't' validation: 'v' } evaluation { "
              "max_samples: 0 } } } "),
      HasSubstr("max_samples is 0"));
}

TEST(StudySpecTest, RepeatsAreSeeds) {
  EXPECT_EQ(Problem("repeats: 3"), "");
  EXPECT_THAT(Problem("repeats: 0"), HasSubstr("study.repeats: is 0"));
  EXPECT_THAT(Problem("repeats: 2" + Space("fine_tune.training.seed", kTwo)),
              HasSubstr("is varied already"));
  EXPECT_THAT(Problem("repeats: 2", "spec_template { evaluate { data { validation: 'v' } } } "),
              HasSubstr("which an evaluation has not"));
}

TEST(StudySpecTest, LimitsAndNamesHaveBounds) {
  EXPECT_THAT(Problem("limits { max_trials: 1001 }"), HasSubstr("limits.max_trials"));
  EXPECT_THAT(Problem("limits { max_seconds: -1 }"), HasSubstr("limits.max_seconds"));
  EXPECT_THAT(Problem("limits { max_steps: -1 }"), HasSubstr("limits.max_steps"));
  EXPECT_THAT(Problem("output_name: '../x'"), HasSubstr("study.output_name"));
  EXPECT_THAT(Problem("output_name: '" + std::string(121, 'a') + "'"), HasSubstr("120"));
  EXPECT_THAT(Problem("priority: 5000"), HasSubstr("study.priority"));
}

TEST(StudySpecTest, DefaultsAreFilledIn) {
  v1::Study study = Parsed(std::string(kTemplate) + "successive_halving { min_steps: 4 }");
  ResolveStudy(study);
  EXPECT_TRUE(study.has_grid());
  EXPECT_EQ(study.objective().metric(), "eval/loss");
  EXPECT_EQ(study.objective().goal(), v1::Objective::GOAL_MINIMIZE);
  EXPECT_EQ(study.repeats(), 1);
  EXPECT_EQ(study.seed(), 42u);
  EXPECT_THAT(study.rung_steps(), ElementsAre(4, 12, 36));
  EXPECT_EQ(study.spec_template().fine_tune().training().eval_every_steps(), 4);
  study = Parsed(std::string(kTemplate) +
                 "objective { metric: 'eval/rouge1' } median_stopping { "
                 "interval_steps: 30 }");
  ResolveStudy(study);
  EXPECT_EQ(study.objective().goal(), v1::Objective::GOAL_MAXIMIZE);
  EXPECT_THAT(study.rung_steps(), ElementsAre(30, 60));
}

}  // namespace
}  // namespace graft
