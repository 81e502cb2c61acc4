#include <algorithm>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class FakeGenerator : public v1::AdapterService::Service {
 public:
  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>*) override {
    prompts.push_back(request->prompt());
    last = *request;
    return grpc::Status::OK;
  }

  // The texts come in the reverse order of their requests.
  grpc::Status GenerateBatch(grpc::ServerContext*, const v1::GenerateBatchRequest* request,
                             grpc::ServerWriter<v1::GenerateBatchResponse>* writer) override {
    batch = *request;
    v1::GenerateBatchResponse message;
    for (int row = request->requests_size() - 1; row >= 0; --row) {
      message.set_row(row);
      const v1::GenerateRequest& asked = request->requests(row);
      for (int i = 0; i < std::max(1, asked.num_return_sequences()); ++i) {
        message.set_sequence(i);
        if (asked.adapter() == "broken") {
          *message.mutable_error() = ToRpcStatus(
              WithReason(absl::UnavailableError("the worker was lost"), kReasonNoWorker));
        } else {
          message.mutable_response()->set_text("by " + asked.adapter());
          message.mutable_response()->set_done(true);
        }
        writer->Write(message);
      }
    }
    return grpc::Status::OK;
  }

  std::vector<std::string> prompts;
  v1::GenerateRequest last;
  v1::GenerateBatchRequest batch;
};

class GenerateCommandTest : public ::testing::Test {
 protected:
  absl::Status Run(const std::string& prompt, const std::string& standard_input) {
    server_.context().json = true;
    std::istringstream input(standard_input);
    std::streambuf* const before = std::cin.rdbuf(input.rdbuf());
    const absl::Status status = server_.Run(AddGenerateCommand, {"generate", prompt});
    std::cin.rdbuf(before);
    return status;
  }

  FakeGenerator adapters_;
  CommandServer server_{std::vector<grpc::Service*>{&adapters_}};
};

TEST_F(GenerateCommandTest, ThePromptIsTheArgumentOrStandardInput) {
  ASSERT_TRUE(Run("an argument", "an input").ok());
  ASSERT_TRUE(Run("-", "an input, über\n").ok());
  EXPECT_EQ(adapters_.prompts, (std::vector<std::string>{"an argument", "an input, über\n"}));
}

// The engine knows how much fits a short model; the command line does not.
TEST_F(GenerateCommandTest, TheNumberOfNewTokensIsLeftOpenUnlessItIsGiven) {
  ASSERT_TRUE(Run("Once", "").ok());
  EXPECT_FALSE(adapters_.last.has_max_new_tokens());
  ASSERT_TRUE(server_.Run(AddGenerateCommand, {"generate", "Once", "--max-new-tokens", "7"}).ok());
  EXPECT_EQ(adapters_.last.max_new_tokens(), 7);
}

TEST_F(GenerateCommandTest, StandardInputThatIsNotUtf8IsRefusedBeforeItIsSent) {
  const absl::Status status = Run("-", "caf\xe9 au lait");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("standard input"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte 4"));
  EXPECT_TRUE(adapters_.prompts.empty());
}

TEST_F(GenerateCommandTest, SeveralAdaptersAreOneBatchInTheirOrder) {
  ::testing::internal::CaptureStdout();
  const absl::Status status = server_.Run(
      AddGenerateCommand,
      {"generate", "--adapter", "a,b", "Once", "--stop-strings", "\n", "--stop-strings", "."});
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "==> a <==\nby a\n\n==> b <==\nby b\n");
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(adapters_.batch.requests_size(), 2);
  for (const v1::GenerateRequest& request : adapters_.batch.requests()) {
    EXPECT_EQ(request.prompt(), "Once");
    EXPECT_EQ(request.stop_strings_size(), 2);
  }
  EXPECT_EQ(adapters_.batch.requests(1).adapter(), "b");
  EXPECT_TRUE(adapters_.prompts.empty());
}

TEST_F(GenerateCommandTest, SeveralSequencesAreABatchToo) {
  ::testing::internal::CaptureStdout();
  const absl::Status status = server_.Run(
      AddGenerateCommand,
      {"generate", "--adapter", "a", "Once", "--sample", "--num-return-sequences", "2"});
  EXPECT_EQ(::testing::internal::GetCapturedStdout(),
            "==> a, 1 of 2 <==\nby a\n\n==> a, 2 of 2 <==\nby a\n");
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(adapters_.batch.requests_size(), 1);
  EXPECT_EQ(adapters_.batch.requests(0).num_return_sequences(), 2);
}

TEST_F(GenerateCommandTest, OneAdapterIsNoBatch) {
  ASSERT_TRUE(server_.Run(AddGenerateCommand, {"generate", "--adapter", "a", "Once"}).ok());
  EXPECT_EQ(adapters_.last.adapter(), "a");
  EXPECT_EQ(adapters_.prompts, (std::vector<std::string>{"Once"}));
}

TEST_F(GenerateCommandTest, ATextThatFailsIsToldAndTheOthersArePrinted) {
  ::testing::internal::CaptureStdout();
  const absl::Status status =
      server_.Run(AddGenerateCommand, {"generate", "--adapter", "broken,b", "Once"});
  EXPECT_EQ(::testing::internal::GetCapturedStdout(),
            "==> broken <==\n(failed: the worker was lost)\n\n==> b <==\nby b\n");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(IsAlreadyPrinted(status));
  server_.context().json = true;
  ::testing::internal::CaptureStdout();
  EXPECT_FALSE(server_.Run(AddGenerateCommand, {"generate", "--adapter", "broken,b", "Once"}).ok());
  const std::string json = ::testing::internal::GetCapturedStdout();
  EXPECT_THAT(json, HasSubstr("{\"row\":1,\"response\":{\"text\":\"by b\""));
  EXPECT_THAT(json, HasSubstr("\"message\":\"the worker was lost\""));
  EXPECT_THAT(json, HasSubstr("\"reason\":\"NO_WORKER\""));
}

TEST_F(GenerateCommandTest, LogProbabilitiesNeedJson) {
  const std::vector<std::string> words = {"generate", "Once", "--log-probabilities"};
  EXPECT_EQ(server_.Run(AddGenerateCommand, words).code(), absl::StatusCode::kInvalidArgument);
  server_.context().json = true;
  ASSERT_TRUE(server_.Run(AddGenerateCommand, words).ok());
  EXPECT_TRUE(adapters_.last.log_probabilities());
}

}  // namespace
}  // namespace graft
