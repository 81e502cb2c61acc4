#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/serving/generation_request.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/imported_adapters.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using worker::v1::Command;

// Generate, from the request to its end.
class GenerateTest : public ::testing::Test {
 protected:
  struct Call {
    std::unique_ptr<grpc::ClientContext> context = CallContext();
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;

    std::string ReadAll() {
      std::string text;
      v1::GenerateResponse response;
      while (reader->Read(&response)) text += response.text();
      return text;
    }
    absl::Status Finish() { return FromGrpcStatus(reader->Finish()); }
  };

  Call Generate(const v1::GenerateRequest& request) {
    Call call;
    call.reader = server_.adapters().Generate(call.context.get(), request);
    return call;
  }

  static v1::GenerateRequest Prompt() {
    v1::GenerateRequest request;
    request.set_base_model("tiny");
    request.set_prompt("Once");
    return request;
  }

  // Serves one text as a worker does.
  absl::Status Serve(FakeWorker& worker, const std::string& id,
                     const std::vector<std::string>& pieces, const absl::Status& error = {}) {
    const auto context = CallContext();
    google::protobuf::Empty empty;
    const auto writer = worker.stub().ReportGeneration(context.get(), &empty);
    worker::v1::ReportGenerationRequest message;
    message.set_id(id);
    *message.mutable_worker() = worker.identity();
    for (size_t i = 0; i < pieces.size(); ++i) {
      message.mutable_response()->set_text(pieces[i]);
      message.mutable_response()->set_done(error.ok() && i + 1 == pieces.size());
      writer->Write(message);
    }
    if (!error.ok()) {
      *message.mutable_error() = ToRpcStatus(error);
      writer->Write(message);
    }
    writer->WritesDone();
    return FromGrpcStatus(writer->Finish());
  }

  TestServer server_;
};

TEST_F(GenerateTest, WithoutWorkersItIsUnavailable) {
  Call call = Generate(Prompt());
  EXPECT_EQ(call.Finish().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GenerateTest, TokensComeFromAnIdleWorker) {
  FakeWorker worker(server_);
  worker.Connect();
  Call call = Generate(Prompt());
  const Command command = worker.NextCommand(Command::kGenerate);
  EXPECT_EQ(command.generate().request().prompt(), "Once");
  EXPECT_GT(command.generate().base_model().files_size(), 0);
  ASSERT_TRUE(Serve(worker, command.generate().id(), {" upon", " a", " time"}).ok());
  EXPECT_EQ(call.ReadAll(), " upon a time");
  EXPECT_TRUE(call.Finish().ok());
}

TEST_F(GenerateTest, AnAdapterBringsItsBaseModel) {
  ASSERT_TRUE(ImportAdapter(server_, "theirs", "tiny", WriteLora(server_.directory(), 8)).ok());
  FakeWorker worker(server_);
  worker.Connect();
  v1::GenerateRequest request = Prompt();
  request.clear_base_model();
  request.set_adapter("theirs");
  Call call = Generate(request);
  const Command command = worker.NextCommand(Command::kGenerate);
  EXPECT_EQ(command.generate().request().base_model(), "tiny");
  EXPECT_GT(command.generate().adapter().files_size(), 0);
  ASSERT_TRUE(Serve(worker, command.generate().id(), {"x"}).ok());
  EXPECT_EQ(call.ReadAll(), "x");
}

TEST_F(GenerateTest, TheEnginesErrorReachesTheUser) {
  FakeWorker worker(server_);
  worker.Connect();
  Call call = Generate(Prompt());
  const Command command = worker.NextCommand(Command::kGenerate);
  ASSERT_TRUE(Serve(worker, command.generate().id(), {" upon"},
                    absl::ResourceExhaustedError("out of memory"))
                  .ok());
  EXPECT_EQ(call.ReadAll(), " upon");
  const absl::Status end = call.Finish();
  EXPECT_EQ(end.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(end.message(), "out of memory");
}

TEST_F(GenerateTest, TooManyAreRefusedWithATimeToRetry) {
  FakeWorker worker(server_);
  worker.Connect();
  std::vector<Call> calls;
  calls.push_back(Generate(Prompt()));
  const Command command = worker.NextCommand(Command::kGenerate);  // The only slot is taken.
  ASSERT_TRUE(command.has_generate());
  for (int i = 0; i < 3; ++i) calls.push_back(Generate(Prompt()));
  // Two may wait; one of the three is refused, whichever came last.
  while (server_.rpc().context().broker.queued() < 2) std::this_thread::yield();
  ASSERT_TRUE(Serve(worker, command.generate().id(), {"x"}).ok());
  for (int i = 0; i < 2; ++i) {
    const Command next = worker.NextCommand(Command::kGenerate);
    ASSERT_TRUE(Serve(worker, next.generate().id(), {"x"}).ok());
  }
  int refused = 0;
  for (Call& call : calls) {
    call.ReadAll();
    const absl::Status end = call.Finish();
    if (end.ok()) continue;
    ++refused;
    EXPECT_EQ(end.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_GT(RetryDelayOf(end), absl::ZeroDuration());
  }
  EXPECT_LE(refused, 1);
}

TEST_F(GenerateTest, AUserWhoGoesAwayStopsTheWorker) {
  FakeWorker worker(server_);
  worker.Connect();
  Call call = Generate(Prompt());
  const Command command = worker.NextCommand(Command::kGenerate);
  call.context->TryCancel();
  EXPECT_EQ(worker.NextCommand(Command::kCancelGenerate).cancel_generate().id(),
            command.generate().id());
  EXPECT_EQ(call.Finish().code(), absl::StatusCode::kCancelled);
  const absl::Status told = Serve(worker, command.generate().id(), {"x"});
  EXPECT_EQ(told.code(), absl::StatusCode::kNotFound);
}

TEST_F(GenerateTest, HowMuchIsLeftOpenIsTheEnginesToSay) {
  FakeWorker worker(server_);
  worker.Connect();
  Call call = Generate(Prompt());  // 64 positions: fewer than the default of long models.
  const Command command = worker.NextCommand(Command::kGenerate);
  EXPECT_FALSE(command.generate().request().has_max_new_tokens());
  ASSERT_TRUE(Serve(worker, command.generate().id(), {"x"}).ok());
  EXPECT_EQ(call.ReadAll(), "x");
}

TEST_F(GenerateTest, TheRoomIsWhatTheSoftPromptLeaves) {
  ASSERT_TRUE(ImportAdapter(server_, "prompt", "tiny", WritePrompt(server_.directory(), 60)).ok());
  v1::GenerateRequest request = Prompt();
  request.set_adapter("prompt");
  request.set_max_new_tokens(4);
  Call call = Generate(request);
  EXPECT_THAT(
      std::string(call.Finish().message()),
      HasSubstr("max_new_tokens: is 4; tiny has 64 positions, less the adapter's 60 virtual "
                "tokens, for the prompt and what follows; must be 1 to 3"));
  ASSERT_TRUE(ImportAdapter(server_, "whole", "tiny", WritePrompt(server_.directory(), 63)).ok());
  request.set_adapter("whole");
  request.clear_max_new_tokens();
  call = Generate(request);
  EXPECT_THAT(std::string(call.Finish().message()),
              HasSubstr("adapter: tiny has 64 positions, less the adapter's 63 virtual tokens: a "
                        "prompt and what follows it need 2"));
}

TEST_F(GenerateTest, BadRequestsAreRefusedByField) {
  struct Case {
    void (*change)(v1::GenerateRequest&);
    absl::StatusCode code;
    const char* field;
  };
  const Case cases[] = {
      {[](v1::GenerateRequest& request) { request.clear_base_model(); },
       absl::StatusCode::kInvalidArgument, "base_model"},
      {[](v1::GenerateRequest& request) { request.set_base_model("gpt5"); },
       absl::StatusCode::kNotFound, "base_model"},
      {[](v1::GenerateRequest& request) { request.set_adapter("nobody"); },
       absl::StatusCode::kNotFound, "adapter"},
      {[](v1::GenerateRequest& request) { request.clear_prompt(); },
       absl::StatusCode::kInvalidArgument, "prompt"},
      {[](v1::GenerateRequest& request) { request.set_max_new_tokens(0); },
       absl::StatusCode::kInvalidArgument, "max_new_tokens"},
      {[](v1::GenerateRequest& request) { request.set_max_new_tokens(64); },
       absl::StatusCode::kInvalidArgument, "max_new_tokens"},
      {[](v1::GenerateRequest& request) { request.mutable_generation()->set_top_p(2); },
       absl::StatusCode::kInvalidArgument, "generation.top_p"},
      {[](v1::GenerateRequest& request) {
         request.mutable_generation()->set_do_sample(true);
         request.mutable_generation()->set_num_beams(4);
       },
       absl::StatusCode::kInvalidArgument, "generation.num_beams"},
      {[](v1::GenerateRequest& request) {
         for (int i = 0; i <= kMaxStopStrings; ++i) request.add_stop_strings("x");
       },
       absl::StatusCode::kInvalidArgument, "stop_strings"},
      {[](v1::GenerateRequest& request) {
         request.add_stop_strings("x");
         request.add_stop_strings("");
       },
       absl::StatusCode::kInvalidArgument, "stop_strings[1]"},
      {[](v1::GenerateRequest& request) {
         request.add_stop_strings(std::string(kMaxStopStringBytes + 1, 'x'));
       },
       absl::StatusCode::kInvalidArgument, "stop_strings[0]"},
      {[](v1::GenerateRequest& request) {
         request.add_stop_strings("x");
         request.mutable_generation()->set_num_beams(4);
       },
       absl::StatusCode::kInvalidArgument, "stop_strings"},
      {[](v1::GenerateRequest& request) {
         request.set_log_probabilities(true);
         request.mutable_generation()->set_num_beams(4);
       },
       absl::StatusCode::kInvalidArgument, "log_probabilities"},
      {[](v1::GenerateRequest& request) { request.set_num_return_sequences(2); },
       absl::StatusCode::kInvalidArgument, "num_return_sequences"},
      {[](v1::GenerateRequest& request) {
         request.mutable_generation()->set_do_sample(true);
         request.set_num_return_sequences(kMaxReturnSequences + 1);
       },
       absl::StatusCode::kInvalidArgument, "num_return_sequences"},
      {[](v1::GenerateRequest& request) { request.set_num_return_sequences(0); },
       absl::StatusCode::kInvalidArgument, "num_return_sequences"},
  };
  for (const Case& bad : cases) {
    v1::GenerateRequest request = Prompt();
    bad.change(request);
    Call call = Generate(request);
    const absl::Status end = call.Finish();
    EXPECT_EQ(end.code(), bad.code) << end;
    ASSERT_FALSE(FieldViolationsOf(end).empty()) << bad.field;
    EXPECT_EQ(FieldViolationsOf(end)[0].field(), bad.field);
  }
}

}  // namespace
}  // namespace graft
