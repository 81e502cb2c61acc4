// graft-server: takes jobs over gRPC, keeps them, and hands them to workers.

#include <malloc.h>

#include <csignal>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "common/base/command_help.h"
#include "common/base/failpoint.h"
#include "common/base/signals.h"
#include "server/process/data_commands.h"
#include "server/process/server_process.h"

namespace {

constexpr int kUsageExitCode = 2;
// Blocks of at least so many bytes, such as large messages, go back to the system when they are
// freed. By itself malloc would, after the first of them, take them from its threads' heaps, which
// then keep hundreds of MiB.
constexpr int kMmapThresholdBytes = 2 << 20;

int Explain(const absl::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "graft-server: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? kUsageExitCode : 1;
}

}  // namespace

int main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
  graft::ServerFlags flags;
  CLI::App app{
      "Takes fine-tuning and evaluation jobs over gRPC and hands them to workers.\n\n"
      "Example: graft-server --workers 1 --models ~/models\n"};
  app.formatter(std::make_shared<graft::CommandHelp>());
  graft::AddServerOptions(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageExitCode;
  }
  std::signal(SIGPIPE, SIG_IGN);
  if (const absl::Status armed = graft::ArmFailpointsOfEnvironment(); !armed.ok()) {
    return Explain(armed);
  }
  switch (flags.command) {
    case graft::ServerCommand::kStop:
      return Explain(graft::StopServer(flags));
    case graft::ServerCommand::kCheck:
      return Explain(graft::CheckData(flags));
    case graft::ServerCommand::kBackUp:
      return Explain(graft::BackUpData(flags));
    case graft::ServerCommand::kRestore:
      return Explain(graft::RestoreData(flags));
    case graft::ServerCommand::kCollect:
      return Explain(graft::CollectData(flags));
    case graft::ServerCommand::kServe:
      break;
  }
  const graft::ProgramSignals signals({SIGUSR1});  // Before there is any other thread.
  return Explain(graft::RunServer(flags, signals));
}
