#include "server/serving/generation_broker.h"

#include <string>

#include "common/errors/status_details.h"
#include "gtest/gtest.h"
#include "tests/server/serving/broker_fixture.h"

namespace graft {
namespace {

using worker::v1::Command;

// The way of a single text.
class GenerationBrokerTest : public GenerationBrokerFixture {};

TEST_F(GenerationBrokerTest, WithoutWorkersATextIsUnavailable) {
  const absl::Status refused = Submit().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused), kReasonNoWorker);
}

TEST_F(GenerationBrokerTest, AFullQueueIsRefusedWithATimeToRetry) {
  const auto worker = Connect("w1");
  ASSERT_TRUE(Submit().ok());  // Takes the slot.
  ASSERT_TRUE(Submit().ok());
  ASSERT_TRUE(Submit().ok());
  const auto refused = Submit();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(RetryDelayOf(refused.status()), absl::ZeroDuration());
}

TEST_F(GenerationBrokerTest, ATextGoesToAnIdleWorkerAndComesBackInOrder) {
  const auto worker = Connect("w1");
  const auto text = Submit();
  ASSERT_TRUE(text.ok()) << text.status();
  const auto claimed = broker_.Claim(Told(worker), "w1");
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  ASSERT_TRUE(broker_.Report(*claimed, 0, Text("a")).ok());
  EXPECT_EQ(Next(*text), "0: a");
  EXPECT_EQ(Next(*text), "") << "it goes on";
  ASSERT_TRUE(broker_.Report(*claimed, 0, Text("b")).ok());
  ASSERT_TRUE(broker_.Report(*claimed, 0, Done("c")).ok());
  EXPECT_EQ(Next(*text), "0: b");
  EXPECT_EQ(Next(*text), "0: c");
  EXPECT_EQ(Next(*text), "end");
}

TEST_F(GenerationBrokerTest, TheNextTextGoesOutWhenASlotIsFreeAgain) {
  const auto worker = Connect("w1");
  const auto first = Submit();
  const auto second = Submit();
  const std::string id = Told(worker);
  EXPECT_EQ(Told(worker), "") << "the worker has one slot";
  const auto claimed = broker_.Claim(id, "w1");
  ASSERT_TRUE(broker_.Report(*claimed, 0, Done("")).ok());
  EXPECT_EQ(Told(worker), "") << "the report has not ended";
  broker_.Finish(*claimed, absl::OkStatus());
  EXPECT_NE(Told(worker), "");
}

TEST_F(GenerationBrokerTest, ATextGoesToTheIdleWorkerThatHoldsItsBaseModel) {
  const auto most = Connect("w1", 2), holder = Connect("w2", 2), busy = Connect("w3");
  hub_.Seen("w1", 2, {{"other"}, {}});
  hub_.Seen("w2", 1, {{"base"}, {}});
  hub_.Seen("w3", 0, {{}, {"base"}});
  const auto first = Submit("base"), second = Submit("base"), third = Submit("base");
  EXPECT_NE(Told(holder), "");
  EXPECT_NE(Told(busy), "") << "a job on it is better than a worker that has to load it";
  EXPECT_NE(Told(most), "");
}

TEST_F(GenerationBrokerTest, BesideAJobOneTextIsMadeAtOnce) {
  const auto worker = Connect("w1");
  hub_.Seen("w1", 0, {{}, {"base"}});
  const auto first = Submit("base"), second = Submit("base");
  const std::string id = Told(worker);
  ASSERT_NE(id, "");
  EXPECT_EQ(Told(worker), "");
  const auto claimed = broker_.Claim(id, "w1");
  ASSERT_TRUE(broker_.Report(*claimed, 0, Done("")).ok());
  broker_.Finish(*claimed, absl::OkStatus());
  EXPECT_NE(Told(worker), "");
  EXPECT_EQ(hub_.workers()[0].free_slots, 0) << "no slot has become free by it";
}

TEST_F(GenerationBrokerTest, ATextWithoutAPlaceHoldsUpNoOther) {
  const auto worker = Connect("w1");
  hub_.Seen("w1", 0, {{}, {"base"}});
  const auto other = Submit("other");
  EXPECT_EQ(Told(worker), "");
  const auto text = Submit("base");
  EXPECT_NE(Told(worker), "");
  EXPECT_EQ(broker_.queued(), 1u);
}

TEST_F(GenerationBrokerTest, ATextThatNobodyWaitsForLeavesItsPlaceBesideAJob) {
  const auto worker = Connect("w1");
  hub_.Seen("w1", 0, {{}, {"base"}});
  const auto text = Submit("base");
  ASSERT_NE(Told(worker), "");
  broker_.Abandon(*text);
  EXPECT_EQ(Told(worker), "");  // The cancel.
  const auto next = Submit("base");
  EXPECT_NE(Told(worker), "");
}

// The job was over when the text came.
TEST_F(GenerationBrokerTest, ATextThatIsRefusedBesideAJobWaitsForNews) {
  const auto worker = Connect("w1");
  hub_.Seen("w1", 0, {{}, {"base"}});
  const auto text = Submit("base");
  const auto claimed = broker_.Claim(Told(worker), "w1");
  broker_.EndRow(*claimed, 0, absl::UnavailableError("over"));
  broker_.Finish(*claimed, absl::OkStatus());
  EXPECT_EQ(Told(worker), "");
  hub_.Seen("w1", 1, {{"base"}, {}});
  broker_.Dispatch();
  EXPECT_NE(Told(worker), "");
}

TEST_F(GenerationBrokerTest, ATextThatAWorkerDidNotBeginGoesToAnother) {
  const auto first = Connect("w1");
  const auto text = Submit();
  ASSERT_NE(Told(first), "");
  const auto second = Connect("w2");
  ASSERT_TRUE(hub_.Disconnect(first));
  broker_.WorkerLost("w1");
  const std::string id = Told(second);
  ASSERT_NE(id, "");
  EXPECT_EQ(broker_.Claim(id, "w1").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(broker_.Claim(id, "w2").ok());
}

TEST_F(GenerationBrokerTest, ATextThatWasBegunEndsWithItsWorker) {
  const auto worker = Connect("w1");
  const auto text = Submit();
  const auto claimed = broker_.Claim(Told(worker), "w1");
  ASSERT_TRUE(broker_.Report(*claimed, 0, Text("a")).ok());
  broker_.Finish(*claimed, absl::UnavailableError("lost"));
  EXPECT_EQ(Next(*text), "0: a");
  EXPECT_EQ(ErrorOf(*text), absl::StatusCode::kUnavailable);
}

TEST_F(GenerationBrokerTest, WithTheLastWorkerGoWaitingTexts) {
  const auto worker = Connect("w1");
  const auto running = Submit();
  const auto waiting = Submit();
  ASSERT_TRUE(hub_.Disconnect(worker));
  broker_.WorkerLost("w1");
  for (const auto& text : {running, waiting}) {
    EXPECT_EQ(ErrorOf(*text), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ReasonOf(last_error_), kReasonNoWorker);
  }
  EXPECT_EQ(broker_.queued(), 0u);
}

TEST_F(GenerationBrokerTest, AnAbandonedTextIsCancelledAtTheWorker) {
  const auto worker = Connect("w1");
  const auto text = Submit();
  const std::string id = Told(worker);
  const auto claimed = broker_.Claim(id, "w1");
  broker_.Abandon(*text);
  Command command;
  ASSERT_EQ(*worker->Next(&command), SourceState::kMessage);
  EXPECT_EQ(command.cancel_generate().id(), id);
  EXPECT_EQ(broker_.Report(*claimed, 0, Text("a")).code(), absl::StatusCode::kCancelled);
}

TEST_F(GenerationBrokerTest, AWorkerThatReadsNothingIsCutOff) {
  const auto worker = Connect("w1");
  Command command;
  command.mutable_work_available();
  for (size_t i = 0; i < kMaxQueuedCommands; ++i) ASSERT_TRUE(hub_.Send("w1", command));
  EXPECT_FALSE(hub_.Send("w1", command));
  EXPECT_EQ(worker->Next(&command).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(GenerationBrokerTest, ANewStreamOfAWorkerReplacesItsOlderOne) {
  const auto first = Connect("w1");
  const auto second = Connect("w1");
  Command command;
  EXPECT_EQ(first->Next(&command).status().code(), absl::StatusCode::kAborted);
  EXPECT_FALSE(hub_.Disconnect(first)) << "the newer stream is still there";
  EXPECT_EQ(hub_.workers().size(), 1u);
}

}  // namespace
}  // namespace graft
