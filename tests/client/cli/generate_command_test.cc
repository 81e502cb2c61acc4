#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "gmock/gmock.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class FakeAdapters : public v1::AdapterService::Service {
 public:
  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>*) override {
    prompts.push_back(request->prompt());
    return grpc::Status::OK;
  }

  std::vector<std::string> prompts;
};

class GenerateCommandTest : public ::testing::Test {
 protected:
  GenerateCommandTest() {
    BlockInterrupts();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&adapters_);
    server_ = builder.BuildAndStart();
    context_.json = true;
    context_.client = ApiClient::Connect(absl::StrCat("127.0.0.1:", port), {});
    context_.interrupts = std::make_unique<InterruptWaiter>(*context_.client);
  }

  absl::Status Run(const std::string& prompt, const std::string& standard_input) {
    CLI::App app;
    RunCommand run;
    AddGenerateCommand(app, run);
    const std::vector<const char*> arguments = {"graft", "generate", prompt.c_str()};
    app.parse(static_cast<int>(arguments.size()), arguments.data());
    std::istringstream input(standard_input);
    std::streambuf* const before = std::cin.rdbuf(input.rdbuf());
    const absl::Status status = run(context_);
    std::cin.rdbuf(before);
    return status;
  }

  FakeAdapters adapters_;
  std::unique_ptr<grpc::Server> server_;
  CliContext context_;
};

TEST_F(GenerateCommandTest, ThePromptIsTheArgumentOrStandardInput) {
  ASSERT_TRUE(Run("an argument", "an input").ok());
  ASSERT_TRUE(Run("-", "an input, über\n").ok());
  EXPECT_EQ(adapters_.prompts, (std::vector<std::string>{"an argument", "an input, über\n"}));
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
