#include "common/studies/study_points.h"

#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "common/studies/study_spec.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

v1::Study StudyOf(const std::string& text) {
  v1::Study study;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "spec_template { fine_tune { data { train: 't' validation: 'v' } method { lora { alpha: 4 } "
      "} "
      "} } " +
          text,
      &study));
  ResolveStudy(study);
  return study;
}

std::vector<StudyPoint> Points(const v1::Study& study) {
  const auto points = PointsOf(study, 1000, "study");
  EXPECT_TRUE(points.ok()) << points.status();
  return points.ok() ? *points : std::vector<StudyPoint>();
}

TEST(StudyPointsTest, AGridIsEveryCombinationTheLastChangingFastest) {
  const auto points = Points(StudyOf(
      "space { key: 'fine_tune.training.learning_rate' value { log_range { min: 1e-4 max: 1e-2 "
      "steps: 3 } } } space { key: 'fine_tune.method.lora.rank' value { choices { values { "
      "number_value: 2 } values { number_value: 8 } } } }"));
  ASSERT_THAT(points, SizeIs(6));
  EXPECT_EQ(points[0].spec.fine_tune().method().lora().rank(), 2);
  EXPECT_EQ(points[0].spec.fine_tune().method().lora().alpha(), 4) << "the template's stays";
  EXPECT_DOUBLE_EQ(points[1].spec.fine_tune().training().learning_rate(), 1e-3);
  EXPECT_EQ(points[3].spec.fine_tune().method().lora().rank(), 8);
  EXPECT_EQ(PointLabel(points[1].parameters), "learning_rate=0.001 rank=2");
}

TEST(StudyPointsTest, AWholeMethodMayBeAChoice) {
  const auto points = Points(StudyOf(
      "space { key: 'fine_tune.method' value { choices { values { struct_value { fields { key: "
      "'soft_prompt' value { struct_value { fields { key: 'num_virtual_tokens' value { "
      "number_value: "
      "5 } } } } } } } values { struct_value { fields { key: 'lora' value { struct_value {} } } } "
      "} } "
      "} }"));
  ASSERT_THAT(points, SizeIs(2));
  EXPECT_FALSE(points[0].spec.fine_tune().method().has_lora()) << "it replaces the template's";
  EXPECT_EQ(points[0].spec.fine_tune().method().soft_prompt().num_virtual_tokens(), 5);
  EXPECT_TRUE(points[1].spec.fine_tune().method().has_lora());
  EXPECT_FALSE(points[1].spec.fine_tune().method().lora().has_alpha());
}

TEST(StudyPointsTest, RandomPointsFollowFromTheSeedAndAreDifferent) {
  const std::string text =
      "random { points: 50 } space { key: 'fine_tune.training.learning_rate' value { log_range { "
      "min: "
      "1e-5 max: 1e-1 } } } space { key: 'fine_tune.method.lora.rank' value { range { min: 1 max: "
      "4 } "
      "} }";
  const auto points = Points(StudyOf(text));
  ASSERT_THAT(points, SizeIs(50));
  std::set<std::map<std::string, std::string>> different;
  std::set<int> ranks;
  int small = 0;
  for (const StudyPoint& point : points) {
    different.insert(point.parameters);
    ranks.insert(point.spec.fine_tune().method().lora().rank());
    const double rate = point.spec.fine_tune().training().learning_rate();
    EXPECT_GE(rate, 1e-5);
    EXPECT_LE(rate, 1e-1);
    if (rate < 1e-3) ++small;
  }
  EXPECT_THAT(different, SizeIs(50));
  EXPECT_THAT(ranks, ElementsAre(1, 2, 3, 4));
  EXPECT_GT(small, 12) << "even in the logarithm";
  EXPECT_LT(small, 38);
  const auto again = Points(StudyOf(text));
  for (size_t i = 0; i < points.size(); ++i) EXPECT_EQ(points[i].parameters, again[i].parameters);
  EXPECT_NE(Points(StudyOf(text + " seed: 7"))[0].parameters, points[0].parameters);
}

TEST(StudyPointsTest, ASmallSpaceHasFewerPointsThanAreDrawn) {
  EXPECT_THAT(
      Points(StudyOf("random { points: 50 } space { key: 'fine_tune.method.lora.rank' value { "
                     "range { min: 1 max: 4 } } }")),
      SizeIs(4));
}

TEST(StudyPointsTest, ValuesThatAFieldDoesNotTakeAreRefused) {
  const auto points = PointsOf(
      StudyOf("space { key: 'fine_tune.method.lora.rank' value { choices { values { string_value: "
              "'many' } } } }"),
      1000, "study");
  EXPECT_EQ(points.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      points.status().message(),
      HasSubstr("study.space[\"fine_tune.method.lora.rank\"]: the field does not take \"many\""));
}

TEST(StudyPointsTest, TooManyPointsAreRefusedBeforeTheyAreMade) {
  std::string text = "repeats: 3 ";
  for (const char* field : {"lora.rank", "lora.alpha", "lora.dropout"}) {
    text += std::string(" space { key: 'fine_tune.method.") + field +
            "' value { range { min: 1 max: 1000000 steps: 1000 } } }";
  }
  const auto points = PointsOf(StudyOf(text), 333, "study");
  EXPECT_THAT(points.status().message(), HasSubstr("makes more than 333 points of 3 trials"));
}

// A request of some MiB must not become gigabytes.
TEST(StudyPointsTest, LargePointsAreRefusedBeforeTheyAreMade) {
  v1::Study study = StudyOf(
      "space { key: 'fine_tune.training.seed' value { range { min: 1 max: 500 steps: 500 } } }");
  EXPECT_EQ(PointsOf(study, 1000, "study")->size(), 500u);
  v1::Study wordy = study;
  (*wordy.mutable_space())["fine_tune.data.prompt_template"]
      .mutable_choices()
      ->add_values()
      ->set_string_value(std::string(3000, 'x'));
  EXPECT_THAT(PointsOf(wordy, 1000, "study").status().message(),
              HasSubstr("study.space: has values so long that those of 500 trials"));
  study.mutable_spec_template()->mutable_fine_tune()->mutable_data()->set_prompt_template(
      std::string(100'000, 'x'));
  EXPECT_THAT(PointsOf(study, 1000, "study").status().message(),
              HasSubstr("study.spec_template: is so long that the specs of 500 trials"));
}

TEST(StudyPointsTest, LabelsAreAsShortAsTheyCanBe) {
  EXPECT_THAT(ShortParameters({{"fine_tune.method.lora.learning_rate", "1"},
                               {"fine_tune.method.soft_prompt.learning_rate", "2"}}),
              ElementsAre(Pair("lora.learning_rate", "1"), Pair("soft_prompt.learning_rate", "2")));
  EXPECT_EQ(PointLabel({}), "");
}

}  // namespace
}  // namespace graft
