#include "server/serving/generation_broker.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/serving/broker_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using worker::v1::Command;

// Batches, which texts join and leave.
class GenerationBatchesTest : public GenerationBrokerFixture {};

TEST_F(GenerationBatchesTest, ACallThatDoesNotFitIsRefusedWhole) {
  const auto worker = Connect("w1");
  ASSERT_TRUE(Submit().ok());  // Takes the slot.
  ASSERT_TRUE(Submit().ok());
  const auto refused = broker_.Submit({Asked(""), Asked("")}, Waker());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(RetryDelayOf(refused.status()), absl::ZeroDuration());
  EXPECT_EQ(broker_.queued(), 1u);
  // Trying again would not help.
  const auto never = broker_.Submit({Asked(""), Asked(""), Asked("")}, Waker());
  EXPECT_EQ(never.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(never.status().message()), HasSubstr("--max-waiting-texts"));
  EXPECT_EQ(RetryDelayOf(never.status()), absl::ZeroDuration());
}

TEST_F(GenerationBatchesTest, TextsOfOneBaseAreABatchThatOthersJoin) {
  const auto worker = ConnectBatching("w1");
  const auto two = SubmitTo(wide_, 2);
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 a", "g1/1 a"));
  const auto other = SubmitTo(wide_, 1, "b");
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/2 b"));
  const auto base = SubmitTo(wide_, 1, "c", "another base");
  EXPECT_THAT(AllTold(worker), IsEmpty()) << "its slot is taken";

  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 1, Done("second")).ok());
  ASSERT_TRUE(wide_.Report(batch, 2, Done("other")).ok());
  ASSERT_TRUE(wide_.Report(batch, 0, Done("first")).ok());
  EXPECT_EQ(Next(wide_, two), "1: second") << "as they come";
  EXPECT_EQ(Next(wide_, two), "0: first");
  EXPECT_EQ(Next(wide_, two), "end");
  EXPECT_EQ(Next(wide_, other), "0: other");
  wide_.Finish(batch, absl::OkStatus());
  EXPECT_THAT(AllTold(worker), ElementsAre("g2/0 c"));
}

TEST_F(GenerationBatchesTest, AnEndedRowMakesRoomForTheNextText) {
  const auto worker = ConnectBatching("w1");
  const auto call = SubmitTo(wide_, kMaxRowsInBatch + 2);
  EXPECT_EQ(AllTold(worker).size(), kMaxRowsInBatch);
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 7, Text("not yet")).ok());
  EXPECT_THAT(AllTold(worker), IsEmpty());
  ASSERT_TRUE(wide_.Report(batch, 7, Done("")).ok());
  EXPECT_THAT(AllTold(worker), ElementsAre(absl::StrCat("g1/", kMaxRowsInBatch, " a")))
      << "no row comes twice";
  wide_.EndRow(batch, 3, absl::ResourceExhaustedError("out of memory"));
  EXPECT_THAT(AllTold(worker), ElementsAre(absl::StrCat("g1/", kMaxRowsInBatch + 1, " a")));
}

// So that a job that waits for the slot gets it.
TEST_F(GenerationBatchesTest, ABatchInASlotIsJoinedForItsTimeOnly) {
  const auto worker = ConnectBatching("w1");
  const auto first = SubmitTo(wide_, 1);
  clock_.Advance(kBatchJoinTime - absl::Seconds(1));
  const auto second = SubmitTo(wide_, 1);
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 a", "g1/1 a"));
  clock_.Advance(absl::Seconds(1));
  const auto third = SubmitTo(wide_, 1);
  EXPECT_THAT(AllTold(worker), IsEmpty());
  EXPECT_EQ(wide_.queued(), 1u);
}

TEST_F(GenerationBatchesTest, ABatchBesideAJobIsJoinedAsLongAsItLasts) {
  const auto worker = ConnectBatching("w1");
  hub_.Seen("w1", 0, {{}, {"base"}});
  const auto first = SubmitTo(wide_, 1);
  clock_.Advance(absl::Hours(1));
  const auto second = SubmitTo(wide_, 1);
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 a", "g1/1 a"));
}

TEST_F(GenerationBatchesTest, AdaptersTakeTurns) {
  const auto worker = ConnectBatching("w1");
  const auto running = SubmitTo(wide_, kMaxRowsInBatch);
  AllTold(worker);
  const auto many = SubmitTo(wide_, 3, "many"), one = SubmitTo(wide_, 1, "one");
  const auto batch = *wide_.Claim("g1", "w1");
  for (int row = 0; row < 4; ++row) ASSERT_TRUE(wide_.Report(batch, row, Done("")).ok());
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/32 many", "g1/33 one", "g1/34 many", "g1/35 many"));
}

TEST_F(GenerationBatchesTest, AUserWhoGoesAwayEndsHisTextsOnly) {
  const auto worker = ConnectBatching("w1");
  const auto his = SubmitTo(wide_, 1, "his"), hers = SubmitTo(wide_, 1, "hers");
  AllTold(worker);
  const auto batch = *wide_.Claim("g1", "w1");
  wide_.Abandon(his);
  EXPECT_THAT(AllTold(worker), ElementsAre("-g1/0"));
  EXPECT_TRUE(wide_.Report(batch, 0, Text("late")).ok()) << "the other goes on";
  ASSERT_TRUE(wide_.Report(batch, 1, Text("x")).ok());
  EXPECT_EQ(Next(wide_, hers), "0: x");
  wide_.Abandon(hers);
  EXPECT_EQ(wide_.Report(batch, 1, Text("y")).code(), absl::StatusCode::kCancelled);
}

TEST_F(GenerationBatchesTest, WhatABatchDidNotBeginIsTheNextAgain) {
  const auto worker = ConnectBatching("w1");
  const auto call = SubmitTo(wide_, 3, "a"), other = SubmitTo(wide_, 1, "b");
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 a", "g1/1 a", "g1/2 a", "g1/3 b"));
  hub_.Seen("w1", 0);
  const auto later = SubmitTo(wide_, 1, "later", "another base");
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 1, Text("begun")).ok());
  wide_.Finish(batch, absl::UnavailableError("lost"));
  EXPECT_EQ(Next(wide_, call), "1: begun");
  EXPECT_EQ(Next(wide_, call), "1! lost");
  hub_.Seen("w1", 1);
  wide_.Dispatch();
  EXPECT_THAT(AllTold(worker), ElementsAre("g2/0 a", "g2/1 b", "g2/2 a"))
      << "before what came later";
}

// A row that comes after the batch's end is dropped.
TEST_F(GenerationBatchesTest, ATextThatJoinedTooLateIsMadeAfterwards) {
  const auto worker = ConnectBatching("w1");
  const auto first = SubmitTo(wide_, 1, "first"), late = SubmitTo(wide_, 1, "late");
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 first", "g1/1 late"));
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 0, Done("")).ok());
  wide_.Finish(batch, absl::OkStatus());
  EXPECT_THAT(AllTold(worker), ElementsAre("g2/0 late"));
  EXPECT_EQ(Next(wide_, late), "");
}

TEST_F(GenerationBatchesTest, ARowThatIsTurnedDownIsNotOfferedToTheSameBatchAgain) {
  const auto worker = ConnectBatching("w1");
  const auto call = SubmitTo(wide_, 2);
  AllTold(worker);
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 0, Text("x")).ok());
  wide_.EndRow(batch, 1, absl::UnavailableError("the job is over"));
  EXPECT_THAT(AllTold(worker), IsEmpty());
  EXPECT_EQ(wide_.queued(), 1u);
}

TEST_F(GenerationBatchesTest, ATextThatIsTurnedDownEverywhereEnds) {
  const auto worker = ConnectBatching("w1");
  const auto call = SubmitTo(wide_, 1);
  for (int i = 0; i <= kMaxGenerationMoves; ++i) {
    hub_.Seen("w1", 1);
    wide_.Dispatch();
    const auto batch = *wide_.Claim(Told(worker), "w1");
    wide_.EndRow(batch, 0, absl::UnavailableError("busy"));
    wide_.Finish(batch, absl::OkStatus());
  }
  EXPECT_EQ(Next(wide_, call), "0! busy");
  EXPECT_EQ(ReasonOf(last_error_), kReasonNoWorker);
  EXPECT_EQ(Next(wide_, call), "end");
}

TEST_F(GenerationBatchesTest, AWorkerWithoutBatchesMakesOneTextAtOnce) {
  const auto worker = Connect("w1");
  const auto call = SubmitTo(wide_, 2);
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 a"));
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 0, Done("")).ok());
  wide_.Finish(batch, absl::OkStatus());
  EXPECT_THAT(AllTold(worker), ElementsAre("g2/0 a"));
}

TEST_F(GenerationBatchesTest, WhatAWorkerDoesNotKnowWaitsForOneThatDoes) {
  const auto old = Connect("w1");
  Command::Generate asked = Asked("base");
  asked.mutable_request()->add_stop_strings("\n");
  const absl::Status refused = wide_.Submit({asked}, Waker()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused), kReasonNoWorker);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("of this release"));

  const auto knows = ConnectBatching("w2");
  hub_.Seen("w2", 0);
  const auto waiting = *wide_.Submit({asked}, Waker());
  const auto simple = SubmitTo(wide_, 1);
  EXPECT_THAT(AllTold(old), ElementsAre("g1/0 a")) << "no other waits behind it";
  hub_.Seen("w2", 1);
  wide_.Dispatch();
  EXPECT_EQ(AllTold(knows).size(), 1u);
  ASSERT_TRUE(hub_.Disconnect(knows));
  wide_.WorkerLost("w2");
  Next(wide_, waiting);
  EXPECT_EQ(last_error_.code(), absl::StatusCode::kUnavailable);
}

TEST_F(GenerationBatchesTest, SequencesOfARequestAreTextsOfTheirOwn) {
  const auto worker = ConnectBatching("w1");
  Command::Generate asked = Asked("base", "a");
  asked.mutable_request()->set_num_return_sequences(3);
  const auto call = *wide_.Submit({Asked("base"), asked}, Waker());
  std::map<int, int> sequences;
  Command command;
  while (*worker->Next(&command) == SourceState::kMessage) {
    if (command.generate().request().adapter() == "a") {
      sequences[command.generate().sequence()] = command.generate().row();
    }
  }
  ASSERT_EQ(sequences.size(), 3u);
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, sequences[2], Done("x")).ok());
  v1::GenerateBatchResponse response;
  ASSERT_EQ(wide_.Next(call, &response), SourceState::kMessage);
  EXPECT_EQ(response.row(), 1);
  EXPECT_EQ(response.sequence(), 2);
  EXPECT_EQ(response.response().sequence(), 2);
}

TEST_F(GenerationBatchesTest, TelemetryTellsOfEachAdapter) {
  const auto worker = ConnectBatching("w1");
  const auto call = SubmitTo(wide_, 1, "a"), other = SubmitTo(wide_, 1, "b");
  const auto batch = *wide_.Claim("g1", "w1");
  const auto report = [&](std::vector<int> ids, bool done) {
    v1::GenerateResponse response;
    response.mutable_ids()->Add(ids.begin(), ids.end());
    response.set_done(done);
    clock_.Advance(absl::Seconds(2));
    ASSERT_TRUE(wide_.Report(batch, 0, response).ok());
  };
  report({5}, false);
  report({6}, false);
  report({7}, true);
  const std::string text = registry_.Text();
  EXPECT_THAT(text, HasSubstr("graft_generate_tokens_total{adapter=\"a\"} 3"));
  EXPECT_THAT(text, HasSubstr("graft_generate_first_token_seconds_sum{adapter=\"a\"} 2"));
  EXPECT_THAT(text, HasSubstr("graft_generate_token_seconds_sum{adapter=\"a\"} 2"));
  EXPECT_THAT(text, HasSubstr("graft_generate_token_seconds_count{adapter=\"a\"} 1"));
}

}  // namespace
}  // namespace graft
