#include "server/serving/generation_broker.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using worker::v1::Command;

class GenerationBrokerTest : public ::testing::Test {
 protected:
  using Link = std::shared_ptr<WorkerHub::Link>;

  // A worker that knows no batches.
  Link Connect(const std::string& id, int slots = 1) {
    worker::v1::ConnectRequest hello;
    hello.set_slots(slots);
    return Connect(id, hello);
  }
  Link ConnectBatching(const std::string& id, int slots = 1) {
    worker::v1::ConnectRequest hello;
    hello.set_slots(slots);
    hello.set_batches_texts(true);
    return Connect(id, hello);
  }
  Link Connect(const std::string& id, worker::v1::ConnectRequest hello) {
    hello.mutable_worker()->set_id(id);
    return *hub_.Connect(hello, Waker());
  }

  static std::shared_ptr<StreamWaker> Waker() {
    return std::make_shared<StreamWaker>([] {});
  }

  static Command::Generate Asked(const std::string& base, const std::string& adapter = "") {
    Command::Generate command;
    command.mutable_base_model()->set_sha256(base);
    command.mutable_request()->set_adapter(adapter);
    return command;
  }

  absl::StatusOr<GenerationBroker::Handle> Submit(const std::string& base = "") {
    return broker_.Submit({Asked(base)}, Waker());
  }
  // So many texts of an adapter, in one call.
  static GenerationBroker::Handle SubmitTo(GenerationBroker& broker, int texts,
                                           const std::string& adapter = "a",
                                           const std::string& base = "base") {
    auto call = broker.Submit(std::vector<Command::Generate>(texts, Asked(base, adapter)), Waker());
    EXPECT_TRUE(call.ok()) << call.status();
    return *call;
  }

  // The batch of the text that the worker was told to make; empty: none.
  static std::string Told(const Link& link) {
    Command command;
    const auto state = link->Next(&command);
    return state.ok() && *state == SourceState::kMessage ? command.generate().id() : "";
  }
  // What the worker was told of texts: "g1/0 a", by id, row and adapter; "-g1/0" of a cancelled
  // one.
  static std::vector<std::string> AllTold(const Link& link) {
    std::vector<std::string> told;
    Command command;
    for (auto state = link->Next(&command); state.ok() && *state == SourceState::kMessage;
         state = link->Next(&command)) {
      told.push_back(command.has_cancel_generate()
                         ? absl::StrCat("-", command.cancel_generate().id(), "/",
                                        command.cancel_generate().row())
                         : absl::StrCat(command.generate().id(), "/", command.generate().row(), " ",
                                        command.generate().request().adapter()));
    }
    return told;
  }

  // What the user is told next: "0: text" or "0! message", by request; "end"; nothing: he waits.
  std::string Next(GenerationBroker& broker, const GenerationBroker::Handle& call) {
    v1::GenerateBatchResponse response;
    switch (broker.Next(call, &response)) {
      case SourceState::kEnd:
        return "end";
      case SourceState::kWait:
        return "";
      case SourceState::kMessage:
        break;
    }
    if (!response.has_error()) {
      return absl::StrCat(response.row(), ": ", response.response().text());
    }
    last_error_ = FromRpcStatus(response.error());
    return absl::StrCat(response.row(), "! ", response.error().message());
  }
  std::string Next(const GenerationBroker::Handle& call) { return Next(broker_, call); }
  // With which the text ends that has nothing else to tell.
  absl::StatusCode ErrorOf(const GenerationBroker::Handle& call) {
    last_error_ = absl::OkStatus();
    Next(call);
    return last_error_.code();
  }

  static v1::GenerateResponse Text(const std::string& text) {
    v1::GenerateResponse response;
    response.set_text(text);
    return response;
  }
  static v1::GenerateResponse Done(const std::string& text) {
    v1::GenerateResponse response = Text(text);
    response.set_done(true);
    return response;
  }

  FakeClock clock_;
  MetricRegistry registry_;
  TextTelemetry telemetry_{registry_};
  WorkerHub hub_{clock_};
  GenerationBroker broker_{hub_, clock_, telemetry_, /*max_queued=*/2};
  GenerationBroker wide_{hub_, clock_, telemetry_, /*max_queued=*/1000};
  absl::Status last_error_;
};

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

TEST_F(GenerationBrokerTest, ACallThatDoesNotFitIsRefusedWhole) {
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

TEST_F(GenerationBrokerTest, TextsOfOneBaseAreABatchThatOthersJoin) {
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

TEST_F(GenerationBrokerTest, AnEndedRowMakesRoomForTheNextText) {
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
TEST_F(GenerationBrokerTest, ABatchInASlotIsJoinedForItsTimeOnly) {
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

TEST_F(GenerationBrokerTest, ABatchBesideAJobIsJoinedAsLongAsItLasts) {
  const auto worker = ConnectBatching("w1");
  hub_.Seen("w1", 0, {{}, {"base"}});
  const auto first = SubmitTo(wide_, 1);
  clock_.Advance(absl::Hours(1));
  const auto second = SubmitTo(wide_, 1);
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 a", "g1/1 a"));
}

TEST_F(GenerationBrokerTest, AdaptersTakeTurns) {
  const auto worker = ConnectBatching("w1");
  const auto running = SubmitTo(wide_, kMaxRowsInBatch);
  AllTold(worker);
  const auto many = SubmitTo(wide_, 3, "many"), one = SubmitTo(wide_, 1, "one");
  const auto batch = *wide_.Claim("g1", "w1");
  for (int row = 0; row < 4; ++row) ASSERT_TRUE(wide_.Report(batch, row, Done("")).ok());
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/32 many", "g1/33 one", "g1/34 many", "g1/35 many"));
}

TEST_F(GenerationBrokerTest, AUserWhoGoesAwayEndsHisTextsOnly) {
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

TEST_F(GenerationBrokerTest, WhatABatchDidNotBeginIsTheNextAgain) {
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
TEST_F(GenerationBrokerTest, ATextThatJoinedTooLateIsMadeAfterwards) {
  const auto worker = ConnectBatching("w1");
  const auto first = SubmitTo(wide_, 1, "first"), late = SubmitTo(wide_, 1, "late");
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 first", "g1/1 late"));
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 0, Done("")).ok());
  wide_.Finish(batch, absl::OkStatus());
  EXPECT_THAT(AllTold(worker), ElementsAre("g2/0 late"));
  EXPECT_EQ(Next(wide_, late), "");
}

TEST_F(GenerationBrokerTest, ARowThatIsTurnedDownIsNotOfferedToTheSameBatchAgain) {
  const auto worker = ConnectBatching("w1");
  const auto call = SubmitTo(wide_, 2);
  AllTold(worker);
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 0, Text("x")).ok());
  wide_.EndRow(batch, 1, absl::UnavailableError("the job is over"));
  EXPECT_THAT(AllTold(worker), IsEmpty());
  EXPECT_EQ(wide_.queued(), 1u);
}

TEST_F(GenerationBrokerTest, ATextThatIsTurnedDownEverywhereEnds) {
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

TEST_F(GenerationBrokerTest, AWorkerWithoutBatchesMakesOneTextAtOnce) {
  const auto worker = Connect("w1");
  const auto call = SubmitTo(wide_, 2);
  EXPECT_THAT(AllTold(worker), ElementsAre("g1/0 a"));
  const auto batch = *wide_.Claim("g1", "w1");
  ASSERT_TRUE(wide_.Report(batch, 0, Done("")).ok());
  wide_.Finish(batch, absl::OkStatus());
  EXPECT_THAT(AllTold(worker), ElementsAre("g2/0 a"));
}

TEST_F(GenerationBrokerTest, WhatAWorkerDoesNotKnowWaitsForOneThatDoes) {
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

TEST_F(GenerationBrokerTest, SequencesOfARequestAreTextsOfTheirOwn) {
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

TEST_F(GenerationBrokerTest, TelemetryTellsOfEachAdapter) {
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
