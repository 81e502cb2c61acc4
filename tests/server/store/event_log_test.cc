// What of an attempt's events is logged, and how the steps of a resumed run are compared.

#include <limits>

#include "common/base/limits.h"
#include "tests/server/store/reporting_fixture.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using EventLogTest = ReportingTest;
INSTANTIATE_ON_EVERY_STORE(EventLogTest);

TEST_P(EventLogTest, StepsRepeatedAfterResumeAreDroppedAndDifferencesToldOnce) {
  const LeaseRef first = fixture_.Start(kWorker);
  Append(first, 1, {StoreFixture::LossEvent(1, 3), StoreFixture::LossEvent(2, 2)});
  const LeaseRef second = Resume(first);
  const int64_t before = fixture_.Get(first.job).last_sequence();
  // Equal: dropped without a word. New numbers of a logged step are kept.
  v1::JobEvent more = StoreFixture::LossEvent(2, 2);
  (*more.mutable_metrics()->mutable_values())["eval/loss"] = 9;
  EXPECT_EQ(Append(second, 1, {StoreFixture::LossEvent(1, 3), more}), 1);
  auto events = fixture_.Events(first.job, before);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_THAT(events[0].metrics().values(), SizeIs(1));
  EXPECT_EQ(events[0].metrics().values().at("eval/loss"), 9);
  // Different: one warning an attempt.
  EXPECT_EQ(Append(second, 2,
                   {StoreFixture::LossEvent(1, 3.5), StoreFixture::LossEvent(2, 2.5),
                    StoreFixture::LossEvent(3, 1)}),
            2);
  events = fixture_.Events(first.job, before + 1);
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[0].warning().code(), "METRICS_DIFFER");
  EXPECT_THAT(events[0].warning().text(), HasSubstr("step 1 was repeated with another train/loss"));
  EXPECT_EQ(events[1].metrics().step(), 3);
  ExpectGapFree(first.job);
}

TEST_P(EventLogTest, WhatComesAfterARollbackIsLoggedAnewAndNotCompared) {
  const LeaseRef lease = fixture_.Start(kWorker);
  v1::JobEvent evaluation;
  evaluation.mutable_evaluation()->set_step(3);
  (*evaluation.mutable_evaluation()->mutable_values())["eval/loss"] = 2;
  v1::JobEvent divergence;
  divergence.mutable_divergence()->set_step(4);
  divergence.mutable_divergence()->set_loss(std::numeric_limits<double>::quiet_NaN());
  divergence.mutable_divergence()->set_action(v1::DIVERGENCE_ACTION_ROLLED_BACK);
  divergence.mutable_divergence()->set_rolled_back_to_step(2);
  Append(lease, 1,
         {StoreFixture::LossEvent(2, 3), StoreFixture::LossEvent(3, 2), evaluation, divergence});
  const int64_t before = fixture_.Get(lease.job).last_sequence();
  (*evaluation.mutable_evaluation()->mutable_values())["eval/loss"] = 2.5;
  Append(lease, 2, {StoreFixture::LossEvent(3, 2.5), evaluation});
  auto events = fixture_.Events(lease.job, before);
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[0].metrics().values().at("train/loss"), 2.5);
  EXPECT_EQ(events[1].evaluation().values().at("eval/loss"), 2.5);
  // What is there again is compared again, as are the steps up to the one that it went back to.
  Append(lease, 3, {StoreFixture::LossEvent(3, 2.5), StoreFixture::LossEvent(2, 9)});
  events = fixture_.Events(lease.job, before + 2);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_THAT(events[0].warning().text(), HasSubstr("step 2 was repeated"));
  ExpectGapFree(lease.job);
}

TEST_P(EventLogTest, EachOfSeveralAdaptersIsLoggedOnceAndComparedWithItself) {
  const auto evaluation = [](const std::string& adapter, double loss) {
    v1::JobEvent event;
    event.mutable_evaluation()->set_adapter(adapter);
    (*event.mutable_evaluation()->mutable_values())["eval/loss"] = loss;
    return event;
  };
  const auto samples = [](const std::string& adapter) {
    v1::JobEvent event;
    event.mutable_samples()->set_adapter(adapter);
    event.mutable_samples()->add_texts()->set_prediction("text");
    return event;
  };
  const LeaseRef first = fixture_.Start(kWorker);
  int64_t before = fixture_.Get(first.job).last_sequence();
  Append(first, 1, {samples("a"), samples("b"), evaluation("a", 2), evaluation("b", 3)});
  EXPECT_THAT(fixture_.Events(first.job, before), SizeIs(4));
  EXPECT_THAT(fixture_.Get(first.job).last_metrics(), IsEmpty()) << "none of them is the job's";
  const LeaseRef second = Resume(first);
  before = fixture_.Get(first.job).last_sequence();
  Append(second, 1, {samples("a"), evaluation("a", 2), evaluation("b", 3.5), samples("c")});
  const auto events = fixture_.Events(first.job, before);
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_THAT(events[0].warning().text(), HasSubstr("another b:eval/loss: 3 is logged"));
  EXPECT_EQ(events[1].samples().adapter(), "c");
  ExpectGapFree(first.job);
}

TEST_P(EventLogTest, OnlyARollbackMakesTheLogForget) {
  const LeaseRef lease = fixture_.Start(kWorker);
  v1::JobEvent divergence;
  divergence.mutable_divergence()->set_step(3);
  divergence.mutable_divergence()->set_action(v1::DIVERGENCE_ACTION_SKIPPED);
  Append(lease, 1, {StoreFixture::LossEvent(2, 3), divergence});
  const int64_t before = fixture_.Get(lease.job).last_sequence();
  Append(lease, 2, {StoreFixture::LossEvent(2, 3)});
  EXPECT_THAT(fixture_.Events(lease.job, before), IsEmpty());
}

TEST_P(EventLogTest, ComparisonIsOfBitsAndLeavesSpeedsAlone) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const LeaseRef first = fixture_.Start(kWorker);
  v1::JobEvent event = StoreFixture::LossEvent(1, nan);
  (*event.mutable_metrics()->mutable_values())["train/tokens_per_second"] = 10;
  Append(first, 1, {event, StoreFixture::LossEvent(2, 0.0)});
  const LeaseRef second = Resume(first);
  const int64_t before = fixture_.Get(first.job).last_sequence();
  (*event.mutable_metrics()->mutable_values())["train/tokens_per_second"] = 20;
  Append(second, 1, {event});
  EXPECT_THAT(fixture_.Events(first.job, before), IsEmpty());
  Append(second, 2, {StoreFixture::LossEvent(2, -0.0)});
  EXPECT_THAT(fixture_.Events(first.job, before), SizeIs(1));
}

TEST_P(EventLogTest, RepeatedEvaluationsAndSamplesAreLoggedOnce) {
  const LeaseRef first = fixture_.Start(kWorker);
  v1::JobEvent evaluation;
  evaluation.mutable_evaluation()->set_step(4);
  (*evaluation.mutable_evaluation()->mutable_values())["eval/loss"] = 1;
  v1::JobEvent samples;
  samples.mutable_samples()->set_step(4);
  samples.mutable_samples()->add_texts()->set_prediction("p");
  Append(first, 1, {StoreFixture::LossEvent(4, 2), evaluation, samples});
  const LeaseRef second = Resume(first);
  const int64_t before = fixture_.Get(first.job).last_sequence();
  Append(second, 1, {StoreFixture::LossEvent(4, 2), evaluation, samples});
  EXPECT_THAT(fixture_.Events(first.job, before), IsEmpty());
  (*evaluation.mutable_evaluation()->mutable_values())["eval/loss"] = 1.5;
  Append(second, 2, {evaluation});
  ASSERT_THAT(fixture_.Events(first.job, before), SizeIs(1));
  EXPECT_TRUE(fixture_.Events(first.job, before)[0].has_warning());
}

TEST_P(EventLogTest, BrokenBatchesAreRefusedWhole) {
  const LeaseRef lease = fixture_.Start(kWorker);
  v1::JobEvent state;
  state.mutable_state_change()->set_to(v1::JOB_STATE_SUCCEEDED);
  v1::JobEvent large;
  large.mutable_warning()->set_text(std::string(kMaxEventBytes + 1, 'x'));
  const std::vector<EventBatch> broken = {
      StoreFixture::Batch(1, {StoreFixture::LossEvent(1, 1), state}),
      StoreFixture::Batch(1, {StoreFixture::LossEvent(1, 1), v1::JobEvent()}),
      StoreFixture::Batch(1, {StoreFixture::LossEvent(1, 1), large}),
      StoreFixture::Batch(0, {}),
      StoreFixture::Batch(1, std::vector<v1::JobEvent>(kMaxEventsPerBatch + 1)),
  };
  for (const EventBatch& batch : broken) {
    EXPECT_EQ(store().AppendEvents(lease, batch).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_THAT(fixture_.Events(lease.job), SizeIs(2));
}

TEST_P(EventLogTest, EventsAreReadInPieces) {
  const LeaseRef lease = fixture_.Start(kWorker);
  std::vector<v1::JobEvent> many;
  for (int64_t step = 1; step <= 100; ++step) many.push_back(StoreFixture::LossEvent(step, 1));
  Append(lease, 1, many);
  const auto piece = store().ReadEvents(lease.job, 50, 10);
  ASSERT_OK(piece);
  ASSERT_THAT(*piece, SizeIs(10));
  EXPECT_EQ(piece->front().sequence(), 51);
  EXPECT_THAT(*store().ReadEvents(lease.job, 102, 10), IsEmpty());
  // Large events make short pieces: about a mebibyte, at least one.
  std::vector<v1::JobEvent> large(3);
  for (v1::JobEvent& event : large) event.mutable_warning()->set_text(std::string(700'000, 'x'));
  Append(lease, 2, large);
  EXPECT_THAT(*store().ReadEvents(lease.job, 102, 1000), SizeIs(2));
}

}  // namespace
}  // namespace graft
