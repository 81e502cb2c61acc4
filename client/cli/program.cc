#include "client/cli/program.h"

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/completion.h"
#include "client/cli/contexts.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "client/cli/usage.h"
#include "common/base/command_help.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/base/version.h"

namespace graft {
namespace {

// The order of groups and, within them, of commands is that of the list that `graft` prints.
void AddGrouped(CLI::App& app, RunCommand& run, const char* group,
                const std::vector<void (*)(CLI::App&, RunCommand&)>& add) {
  const size_t before = app.get_subcommands([](CLI::App*) { return true; }).size();
  for (const auto one : add) one(app, run);
  const std::vector<CLI::App*> commands = app.get_subcommands([](CLI::App*) { return true; });
  for (size_t i = before; i < commands.size(); ++i) commands[i]->group(group);
}

absl::Status Explain(const absl::Status& status, const CliContext& context) {
  if (!IsUnreachable(status)) return status;
  return absl::Status(
      status.code(),
      absl::StrCat("no answer from the server at ", context.server, ": ", status.message(),
                   ". Is graft-server running there? (--server or GRAFT_SERVER "
                   "names another)"));
}

// Who is asked: what a flag says, or else the environment, or else the user's file.
absl::Status ChooseServer(const CLI::App& app, CliContext& context) {
  if (!context.context_name.empty()) {
    ASSIGN_OR_RETURN(const Contexts contexts, ReadContexts(ContextsPath()));
    ASSIGN_OR_RETURN(context.server, ServerOfContext(contexts, context.context_name));
  } else if (app.get_option("--server")->count() == 0) {
    ASSIGN_OR_RETURN(context.server, UsualServer());
  }
  return absl::OkStatus();
}

int Run(CliContext& context, const CLI::App& command, const RunCommand& run) {
  ApiClient::Options options;
  options.call_timeout = absl::Seconds(context.timeout_seconds);
  context.client = ApiClient::Connect(context.server, options);
  context.interrupts = std::make_unique<InterruptWaiter>(*context.client);
  const absl::Status status = run(context);
  context.interrupts.reset();
  if (!status.ok() && !IsAlreadyPrinted(status)) {
    std::fflush(stdout);
    std::fputs(ErrorText(NameFlags(command, Explain(status, context))).c_str(), stderr);
  }
  return ExitCodeAfter(status);
}

int SayUsage(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {  // --help, --version
    std::ostringstream text;
    app.exit(error, text, text);
    std::fputs(Printable(text.str()).c_str(), stdout);
    return kExitDone;
  }
  std::fputs(Printable(UsageText(app, error)).c_str(), stderr);
  return kExitUsage;
}

}  // namespace

void AddCommands(CLI::App& app, CliContext& context, RunCommand& run) {
  app.description(
      "graft fine-tunes and evaluates GPT-2 with small adapters, as jobs of a server.\n"
      "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 server unreachable; of wait also\n"
      "5 cancelled, 6 not done in time.");
  app.name("graft");
  app.formatter(std::make_shared<CommandHelp>());
  app.require_subcommand(1);
  app.set_version_flag("--version", kVersion);
  app.add_option("--server", context.server, "Address of the server")
      ->envname("GRAFT_SERVER")
      ->capture_default_str();
  app.add_option("--context", context.context_name,
                 "Name of the server: graft context list has them");
  app.add_flag("--json", context.json, "JSON instead of text: lists have one object a line");
  app.add_option("--timeout", context.timeout_seconds, "Seconds that a call may take")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  AddGrouped(app, run, "Jobs",
             {AddSubmitCommand, AddEvalCommand, AddJobCommands, AddWaitCommand,
              AddCheckpointsCommand, AddLogsCommand});
  AddGrouped(app, run, kWaitingGroup,
             {AddPlanCommands, AddQueueCommand, AddWorkersCommand, AddTopCommand});
  AddGrouped(app, run, kLifeGroup, {AddLifeCommands, AddDeleteCommand});
  AddGrouped(app, run, kResultsGroup,
             {AddStudyCommands, AddCompareCommand, AddPlotCommand, AddRowsCommand});
  AddGrouped(app, run, "Models, data and adapters",
             {AddModelCommands, AddDatasetCommands, AddAdapterCommands, AddGenerateCommand});
  AddGrouped(app, run, kChecksGroup,
             {AddVerifyCommand, AddRougeCommand, AddDoctorCommand, AddContextCommands,
              AddCompletionCommand, AddManCommand});
}

int RunGraft(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    // Protobuf's strings are UTF-8; so are this program's paths, names and texts.
    if (FindInvalidUtf8(argv[i]) == absl::string_view::npos) continue;
    std::fprintf(stderr, "graft: argument %d is not UTF-8\n", i);
    return kExitUsage;
  }
  CLI::App app;
  CliContext context;
  RunCommand run;
  AddCommands(app, context, run);
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == kCompletionRequest) {
    PrintCompletions(app, UsualServer().value_or(context.server), {words.begin() + 1, words.end()});
    return kExitDone;
  }
  words = FoldFlags(words);
  std::reverse(words.begin(), words.end());  // As CLI11 takes them.
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    return SayUsage(app, error);
  }
  // The contexts themselves are mended without a server.
  if (!app.got_subcommand("context")) {
    if (const absl::Status status = ChooseServer(app, context); !status.ok()) {
      std::fputs(ErrorText(status).c_str(), stderr);
      return ExitCodeOf(status);
    }
  }
  return Run(context, ChosenCommand(app), run);
}

}  // namespace graft
