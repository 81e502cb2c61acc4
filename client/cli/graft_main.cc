// graft: the command line.

#include <cstdio>
#include <cstdlib>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "common/base/version.h"
#include "common/text/unicode.h"

namespace graft {
namespace {

absl::Status Explain(const absl::Status& status, const CliContext& context) {
  if (!IsUnreachable(status)) return status;
  return absl::Status(
      status.code(),
      absl::StrCat("no answer from the server at ", context.server, ": ", status.message(),
                   ". Is graft-server running there? (--server or GRAFT_SERVER "
                   "names another)"));
}

int Run(CliContext& context, const RunCommand& run) {
  ApiClient::Options options;
  options.call_timeout = absl::Seconds(context.timeout_seconds);
  context.client = ApiClient::Connect(context.server, options);
  context.interrupts = std::make_unique<InterruptWaiter>(*context.client);
  const absl::Status status = run(context);
  context.interrupts.reset();
  if (!status.ok() && !IsAlreadyPrinted(status)) {
    std::fflush(stdout);
    std::fputs(ErrorText(Explain(status, context)).c_str(), stderr);
  }
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    // Protobuf's strings are UTF-8; so are this program's paths, names and texts.
    if (graft::FindInvalidUtf8(argv[i]) == absl::string_view::npos) continue;
    std::fprintf(stderr, "graft: argument %d is not UTF-8\n", i);
    return graft::kExitUsage;
  }
  graft::BlockInterrupts();
  CLI::App app{
      "graft fine-tunes and evaluates GPT-2 with small adapters, as jobs of a graft-server.\n"
      "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 server unreachable."};
  app.name("graft");
  app.require_subcommand(1);
  app.set_version_flag("--version", graft::kVersion);
  graft::CliContext context;
  app.add_option("--server", context.server, "Address of the server")
      ->envname("GRAFT_SERVER")
      ->capture_default_str();
  app.add_flag("--json", context.json, "JSON, one object a line, instead of tables");
  app.add_option("--timeout", context.timeout_seconds, "Seconds that a call may take")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  graft::RunCommand run;
  graft::AddSubmitCommand(app, run);
  graft::AddJobCommands(app, run);
  graft::AddLogsCommand(app, run);
  graft::AddWorkersCommand(app, run);
  graft::AddEvalCommand(app, run);
  graft::AddCompareCommand(app, run);
  graft::AddRougeCommand(app, run);
  graft::AddVerifyCommand(app, run);
  graft::AddGenerateCommand(app, run);
  graft::AddDatasetCommands(app, run);
  graft::AddModelCommands(app, run);
  graft::AddAdapterCommands(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? graft::kExitDone : graft::kExitUsage;
  }
  return graft::Run(context, run);
}
