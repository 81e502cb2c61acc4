// graft-server: takes jobs over gRPC, keeps them, and hands them to workers.

#include <pthread.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "server/process/server_process.h"

namespace {

constexpr int kUsageExitCode = 2;

}  // namespace

int main(int argc, char** argv) {
  graft::ServerFlags flags;
  CLI::App app{
      "Takes fine-tuning and evaluation jobs over gRPC and hands them to workers.\n\n"
      "Example: graft-server --workers 1 --models ~/models\n"};
  graft::AddServerOptions(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageExitCode;
  }
  // One thread takes the signals, in RunServer; blocked here, before there is any other thread.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  const absl::Status status = flags.stop ? graft::StopServer(flags) : graft::RunServer(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "graft-server: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? kUsageExitCode : 1;
}
