#include "server/analysis/metric_curves.h"

#include <cmath>
#include <limits>

#include "common/base/limits.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<int64_t> StepsOf(const v1::MetricCurve& curve) {
  std::vector<int64_t> steps;
  for (const v1::MetricPoint& point : curve.points()) steps.push_back(point.step());
  return steps;
}

TEST(CurveBuilderTest, FewValuesArePointsOfTheirOwn) {
  CurveBuilder builder(3);
  EXPECT_TRUE(builder.empty());
  builder.Add(1, 5);
  builder.Add(2, 4);
  builder.Add(7, 3);
  const v1::MetricCurve curve = builder.Take("train/loss");
  EXPECT_EQ(curve.metric(), "train/loss");
  EXPECT_EQ(curve.steps_per_point(), 1);
  EXPECT_EQ(curve.num_values(), 3);
  EXPECT_THAT(StepsOf(curve), ElementsAre(1, 2, 7));
  EXPECT_EQ(curve.points(2).min(), 3);
  EXPECT_EQ(curve.points(2).max(), 3);
}

TEST(CurveBuilderTest, ManyValuesShareABoundedNumberOfPoints) {
  CurveBuilder builder(10);
  constexpr int64_t kSteps = 1'000'000;
  for (int64_t step = 1; step <= kSteps; ++step) builder.Add(step, step % 1000 == 7 ? 9 : 1);
  const v1::MetricCurve curve = builder.Take("m");
  EXPECT_EQ(curve.steps_per_point(), 131'072);
  EXPECT_EQ(curve.num_values(), kSteps);
  ASSERT_EQ(curve.points_size(), 8);
  EXPECT_EQ(curve.points(0).step(), 131'071);
  EXPECT_EQ(curve.points(0).num_values(), 131'071);
  EXPECT_EQ(curve.points(7).step(), kSteps);
  for (const v1::MetricPoint& point : curve.points()) {
    EXPECT_EQ(point.min(), 1);
    EXPECT_EQ(point.max(), 9) << "a spike is not lost";
    EXPECT_EQ(point.last(), 1);
  }
}

TEST(CurveBuilderTest, ValuesThatAreNotFiniteCountAsTheLastAlone) {
  CurveBuilder builder(1);
  builder.Add(0, kNan);
  builder.Add(1, 2);
  builder.Add(2, 5);
  builder.Add(3, std::numeric_limits<double>::infinity());
  const v1::MetricCurve curve = builder.Take("m");
  ASSERT_EQ(curve.points_size(), 1);
  EXPECT_EQ(curve.points(0).min(), 2);
  EXPECT_EQ(curve.points(0).max(), 5);
  EXPECT_TRUE(std::isinf(curve.points(0).last()));
  EXPECT_EQ(curve.points(0).num_values(), 4);
}

class MetricCurvesTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::ReadMetricsResponse> Read(const std::vector<std::string>& metrics,
                                               int max_points = 0,
                                               const std::string& job = "jobs/j1") {
    v1::ReadMetricsRequest request;
    request.set_name(job);
    request.mutable_metrics()->Assign(metrics.begin(), metrics.end());
    request.set_max_points(max_points);
    return ReadMetricCurves(fixture_.store(), request, [] { return false; });
  }
  void Report(const std::vector<v1::JobEvent>& events) {
    ASSERT_OK(fixture_.store().AppendEvents(lease_, StoreFixture::Batch(++batch_, events)));
  }
  static v1::JobEvent Evaluation(int64_t step, double loss) {
    v1::JobEvent event;
    event.mutable_evaluation()->set_step(step);
    (*event.mutable_evaluation()->mutable_values())["eval/loss"] = loss;
    (*event.mutable_evaluation()->mutable_values())["eval/rouge1"] = 0.25;
    return event;
  }

  StoreFixture fixture_{StoreKind::kMemory};
  const LeaseRef lease_ = fixture_.Start(kWorker);
  int64_t batch_ = 0;
};

TEST_F(MetricCurvesTest, WhatIsNotNamedIsTheLossOfBothKinds) {
  const auto empty = Read({});
  ASSERT_OK(empty);
  EXPECT_THAT(empty->curves(), IsEmpty());
  Report({StoreFixture::LossEvent(1, 4), StoreFixture::LossEvent(2, 3), Evaluation(2, 3.5)});
  const auto response = Read({});
  ASSERT_OK(response);
  ASSERT_EQ(response->curves_size(), 2);
  EXPECT_EQ(response->curves(0).metric(), "train/loss");
  EXPECT_THAT(StepsOf(response->curves(0)), ElementsAre(1, 2));
  EXPECT_EQ(response->curves(1).points(0).last(), 3.5);
  EXPECT_THAT(response->metrics(), ElementsAre("eval/loss", "eval/rouge1", "train/loss"));
  EXPECT_EQ(response->last_sequence(), fixture_.Get("jobs/j1").last_sequence());
}

TEST_F(MetricCurvesTest, AMetricThatTheJobHasNotIsToldWithThoseThatItHas) {
  const absl::Status none = Read({"train/loss"}).status();
  EXPECT_TRUE(absl::IsNotFound(none));
  EXPECT_THAT(std::string(none.message()), HasSubstr("has no metric \"train/loss\"; it has none"));
  Report({StoreFixture::LossEvent(1, 4), Evaluation(1, 3.5)});
  const absl::Status unknown = Read({"eval/rouge1", "loss"}).status();
  EXPECT_TRUE(absl::IsNotFound(unknown));
  EXPECT_EQ(unknown.message(),
            "jobs/j1 has no metric \"loss\"; it has: eval/loss, eval/rouge1, train/loss");
  EXPECT_TRUE(absl::IsNotFound(Read({}, 0, "jobs/none").status()));
}

TEST_F(MetricCurvesTest, BadRequestsNameTheField) {
  EXPECT_THAT(std::string(Read({}, -1).status().message()),
              HasSubstr("max_points: must be 1..2000"));
  EXPECT_TRUE(absl::IsInvalidArgument(Read({}, kMaxCurvePoints + 1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Read({""}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Read({std::string(kMaxNameBytes + 1, 'm')}).status()));
  EXPECT_THAT(std::string(Read({"a", "a"}).status().message()), HasSubstr("has \"a\" twice"));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Read(std::vector<std::string>(kMaxCurves + 1, "a")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Read({}, 0, "jobs/..").status()));
}

TEST_F(MetricCurvesTest, StepsThatARollbackUndidAreLeftOut) {
  Report({StoreFixture::LossEvent(1, 4), StoreFixture::LossEvent(2, 90)});
  v1::JobEvent back;
  back.mutable_divergence()->set_step(3);
  back.mutable_divergence()->set_action(v1::DIVERGENCE_ACTION_ROLLED_BACK);
  back.mutable_divergence()->set_rolled_back_to_step(1);
  Report({back, StoreFixture::LossEvent(2, 3)});
  const auto response = Read({"train/loss"});
  ASSERT_OK(response);
  ASSERT_THAT(StepsOf(response->curves(0)), ElementsAre(1, 2));
  EXPECT_EQ(response->curves(0).points(1).last(), 3);
  EXPECT_EQ(response->curves(0).points(1).max(), 3);
}

TEST_F(MetricCurvesTest, WhoeverHasGoneIsNotReadFor) {
  v1::ReadMetricsRequest request;
  request.set_name("jobs/j1");
  EXPECT_TRUE(
      absl::IsCancelled(ReadMetricCurves(fixture_.store(), request, [] { return true; }).status()));
}

}  // namespace
}  // namespace graft
