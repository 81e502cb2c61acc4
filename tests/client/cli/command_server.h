#pragma once

// Services of a test's own on a free port, and the commands that talk to them.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace graft {

class CommandServer {
 public:
  // The services must outlive it.
  explicit CommandServer(const std::vector<grpc::Service*>& services,
                         const ApiClient::Options& options = {}) {
    BlockInterrupts();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    for (grpc::Service* service : services) builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    context_.client = ApiClient::Connect(absl::StrCat("127.0.0.1:", port), options);
    context_.interrupts = std::make_unique<InterruptWaiter>(*context_.client);
  }

  CliContext& context() { return context_; }

  // Runs "graft WORDS…", of the commands that `add` knows. INVALID_ARGUMENT for words that the
  // command line does not take.
  absl::Status Run(const std::function<void(CLI::App&, RunCommand&)>& add,
                   const std::vector<std::string>& words) {
    CLI::App app;
    RunCommand run;
    add(app, run);
    std::vector<const char*> arguments = {"graft"};
    for (const std::string& word : words) arguments.push_back(word.c_str());
    try {
      app.parse(static_cast<int>(arguments.size()), arguments.data());
    } catch (const CLI::ParseError& error) {
      return absl::InvalidArgumentError(error.what());
    }
    return run(context_);
  }

 private:
  std::unique_ptr<grpc::Server> server_;
  CliContext context_;
};

}  // namespace graft
