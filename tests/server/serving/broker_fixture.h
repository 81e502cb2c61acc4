#pragma once

// A broker, the hub of its workers, and a clock that the test moves.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"
#include "gtest/gtest.h"
#include "server/serving/generation_broker.h"

namespace graft {

class GenerationBrokerFixture : public ::testing::Test {
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

  static worker::v1::Command::Generate Asked(const std::string& base,
                                             const std::string& adapter = "") {
    worker::v1::Command::Generate command;
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
    auto call = broker.Submit(
        std::vector<worker::v1::Command::Generate>(texts, Asked(base, adapter)), Waker());
    EXPECT_TRUE(call.ok()) << call.status();
    return *call;
  }

  // The batch of the text that the worker was told to make; empty: none.
  static std::string Told(const Link& link) {
    worker::v1::Command command;
    const auto state = link->Next(&command);
    return state.ok() && *state == SourceState::kMessage ? command.generate().id() : "";
  }
  // What the worker was told of texts: "g1/0 a", by id, row and adapter; "-g1/0" of a cancelled
  // one.
  static std::vector<std::string> AllTold(const Link& link) {
    std::vector<std::string> told;
    worker::v1::Command command;
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

}  // namespace graft
