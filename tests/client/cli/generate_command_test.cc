#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

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

  std::vector<std::string> prompts;
  v1::GenerateRequest last;
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

}  // namespace
}  // namespace graft
