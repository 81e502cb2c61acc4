#include <algorithm>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"
#include "tests/fakes/temp_dir.h"

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
    batches.push_back(batch);
    for (int row = 0; row < request->requests_size(); ++row) {
      if (request->requests(row).prompt() != "refused") continue;
      return ToGrpcStatus(FieldViolation(absl::StrCat("requests[", row, "].prompt"), "is bad"));
    }
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
          v1::GenerateResponse& response = *message.mutable_response();
          response.Clear();
          response.set_text("by ");
          writer->Write(message);
          response.set_text(asked.adapter());
          response.set_done(true);
          response.set_finish_reason("end_of_text");
          response.set_new_tokens(2);
        }
        writer->Write(message);
      }
    }
    return grpc::Status::OK;
  }

  std::vector<std::string> prompts;
  v1::GenerateRequest last;
  v1::GenerateBatchRequest batch;  // The last one.
  std::vector<v1::GenerateBatchRequest> batches;
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
  EXPECT_THAT(json, HasSubstr("{\"row\":1,\"response\":{\"text\":\"by \"}"));
  EXPECT_THAT(json, HasSubstr("\"message\":\"the worker was lost\""));
  EXPECT_THAT(json, HasSubstr("\"reason\":\"NO_WORKER\""));
}

// Prompts of a file.
class GenerateForFileTest : public GenerateCommandTest {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically(dir_.Path(name), content).ok());
    return dir_.Path(name);
  }
  absl::Status Make(const std::string& path, std::vector<std::string> words = {}) {
    words.insert(words.begin(), {"generate", "--prompts", path});
    ::testing::internal::CaptureStdout();
    const absl::Status status = server_.Run(AddGenerateCommand, words);
    out_ = ::testing::internal::GetCapturedStdout();
    return status;
  }

  TempDir dir_;
  std::string out_;
};

TEST_F(GenerateForFileTest, TextsComeInTheOrderOfTheLines) {
  const std::string path = Write("prompts.txt", "Once\nTwice\n");
  ASSERT_TRUE(Make(path, {"--adapter", "a,b"}).ok());
  EXPECT_EQ(out_,
            "==> line 1, a <==\nby a\n\n==> line 1, b <==\nby b\n\n"
            "==> line 2, a <==\nby a\n\n==> line 2, b <==\nby b\n");
  ASSERT_EQ(adapters_.batch.requests_size(), 4);
  EXPECT_EQ(adapters_.batch.requests(1).prompt(), "Once");
  EXPECT_EQ(adapters_.batch.requests(2).prompt(), "Twice");
  server_.context().json = true;
  ASSERT_TRUE(
      Make(Write("rows.jsonl", "{\"id\": \"r\", \"prompt\": \"Once\"}\n"), {"--adapter", "a"})
          .ok());
  EXPECT_EQ(out_,
            "{\"line\":1,\"id\":\"r\",\"prompt\":\"Once\",\"adapter\":\"a\",\"text\":\"by a\","
            "\"finish_reason\":\"end_of_text\",\"prompt_tokens\":0,\"new_tokens\":2}\n");
}

TEST_F(GenerateForFileTest, ManyPromptsAreManyBatchesInTheirOrder) {
  std::string rows, expected;
  for (int i = 1; i <= 100; ++i) {
    absl::StrAppend(&rows, "{\"prompt\": \"p", i, "\"}\n\n");
    absl::StrAppend(&expected, "{\"line\":", 2 * i - 1, ",\"prompt\":\"p", i, "\"\n");
  }
  server_.context().json = true;
  ASSERT_TRUE(Make(Write("rows.jsonl", rows), {"--base-model", "m"}).ok());
  ASSERT_EQ(adapters_.batches.size(), 2u);
  EXPECT_EQ(adapters_.batches[0].requests_size(), 64);
  EXPECT_EQ(adapters_.batches[1].requests(0).prompt(), "p65");
  std::string beginnings;
  for (const absl::string_view line : absl::StrSplit(out_, '\n', absl::SkipEmpty())) {
    absl::StrAppend(&beginnings, line.substr(0, line.find(",\"base_model\"")), "\n");
  }
  EXPECT_EQ(beginnings, expected);
}

TEST_F(GenerateForFileTest, ABadLineIsNamedBeforeAnythingIsSent) {
  const auto error = [&](const std::string& name, const std::string& content) {
    const absl::Status status = Make(Write(name, content), {"--base-model", "m"});
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(out_, "");
    return std::string(status.message());
  };
  EXPECT_THAT(error("rows.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": 3}\n"),
              HasSubstr("rows.jsonl: line 2: field \"prompt\" is a number"));
  EXPECT_THAT(error("rows.jsonl", "{\"text\": \"a\"}\n"),
              HasSubstr("rows.jsonl: line 1: no field prompt; the row has: text"));
  EXPECT_THAT(error("lines.txt", "a\n\nb\n"), HasSubstr("lines.txt: line 2: an empty prompt"));
  EXPECT_THAT(error("lines.txt", ""), HasSubstr("lines.txt: has no prompt"));
  EXPECT_THAT(error("lines.txt", "a\n" + std::string(4 << 20, 'x')),
              HasSubstr("lines.txt: line 2: the prompt has 4194304 bytes; at most 3145728"));
  EXPECT_TRUE(adapters_.batches.empty());
  EXPECT_THAT(error("lines.txt", "a\nrefused\n"), HasSubstr("lines.txt: line 2: prompt is bad"));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Make(dir_.Path("lines.txt"), {"a prompt", "--base-model", "m"})));
  EXPECT_TRUE(absl::IsInvalidArgument(server_.Run(AddGenerateCommand, {"generate"})));
}

TEST_F(GenerateForFileTest, ATextThatFailsIsToldInItsPlace) {
  server_.context().json = true;
  const absl::Status status = Make(Write("lines.txt", "Once\n"), {"--adapter", "broken,b"});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(IsAlreadyPrinted(status));
  EXPECT_THAT(
      out_, HasSubstr("\"adapter\":\"broken\",\"text\":\"\",\"error\":\"the worker was lost\"}\n"));
  EXPECT_THAT(out_, HasSubstr("\"adapter\":\"b\",\"text\":\"by b\""));
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
