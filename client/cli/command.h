#pragma once

// What every command of the CLI is made with.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "client/api_client.h"
#include "client/cli/interrupt.h"
#include "client/cli/output.h"

namespace graft {

// The options that stand before or after any command, and the client they lead to.
struct CliContext {
  std::string server = "127.0.0.1:50051";
  std::string context_name;  // Whose server it is; empty: --server's, or the usual one.
  bool json = false;
  double timeout_seconds = 30;
  // Made before a command runs.
  std::unique_ptr<ApiClient> client;
  std::unique_ptr<InterruptWaiter> interrupts;
};

// Commands register themselves at `app` and, when they are chosen, set `run`. Their options live as
// long as the app.
using RunCommand = std::function<absl::Status(CliContext&)>;
void AddJobCommands(CLI::App& app, RunCommand& run);
void AddCheckpointsCommand(CLI::App& app, RunCommand& run);
void AddLifeCommands(CLI::App& app, RunCommand& run);
void AddDeleteCommand(CLI::App& app, RunCommand& run);
void AddSubmitCommand(CLI::App& app, RunCommand& run);
void AddEvalCommand(CLI::App& app, RunCommand& run);
void AddPlanCommands(CLI::App& app, RunCommand& run);
void AddStudyCommands(CLI::App& app, RunCommand& run);
void AddCompareCommand(CLI::App& app, RunCommand& run);
void AddPlotCommand(CLI::App& app, RunCommand& run);
void AddRowsCommand(CLI::App& app, RunCommand& run);
void AddWaitCommand(CLI::App& app, RunCommand& run);
void AddLogsCommand(CLI::App& app, RunCommand& run);
void AddQueueCommand(CLI::App& app, RunCommand& run);
void AddTopCommand(CLI::App& app, RunCommand& run);
void AddWorkersCommand(CLI::App& app, RunCommand& run);
void AddDoctorCommand(CLI::App& app, RunCommand& run);
void AddContextCommands(CLI::App& app, RunCommand& run);
void AddManCommand(CLI::App& app, RunCommand& run);
void AddCompletionCommand(CLI::App& app, RunCommand& run);
void AddRougeCommand(CLI::App& app, RunCommand& run);
void AddVerifyCommand(CLI::App& app, RunCommand& run);
void AddGenerateCommand(CLI::App& app, RunCommand& run);
void AddDatasetCommands(CLI::App& app, RunCommand& run);
void AddModelCommands(CLI::App& app, RunCommand& run);
void AddAdapterCommands(CLI::App& app, RunCommand& run);

// A subcommand with an example in its help. `run` gets `body` when the command is chosen; `options`
// is shared with it.
template <typename Options>
CLI::App* AddCommand(CLI::App& app, RunCommand& run, const std::string& name,
                     const std::string& description, const std::string& example,
                     const std::shared_ptr<Options>& options,
                     absl::Status (*body)(CliContext&, const Options&)) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer("Example:\n  " + example);
  command->fallthrough();
  command->callback([&run, options, body] {
    run = [options, body](CliContext& context) { return body(context, *options); };
  });
  return command;
}

// The program as it was called, for commands that are printed: they go to the same server.
std::string GraftCommand(const CliContext& context);

// Follows a job on the terminal (or as plain lines, or as JSON) to its end, and says what may come
// next. FAILED_PRECONDITION, with nothing more to print, when the job did not succeed; CANCELLED
// when Ctrl-C ended the watching.
absl::Status FollowJob(CliContext& context, const std::string& name, int64_t after_sequence);

// The same of several at once, from their first events, at most kMaxFollowedJobs: a line for each
// that is not done is redrawn; a JSON line is {"job": NAME, "event": {...}}.
inline constexpr int kMaxFollowedJobs = 64;
absl::Status FollowJobs(CliContext& context, const std::vector<std::string>& names);

// The same of a study: its table is redrawn on a terminal, its events are lines anywhere else.
absl::Status FollowStudy(CliContext& context, const std::string& name);

// Statuses whose text is already on the screen.
absl::Status AlreadyPrinted(absl::StatusCode code);
// With the exit code that it comes to; OK for kExitDone.
absl::Status AlreadyPrinted(ExitCode code);
bool IsAlreadyPrinted(const absl::Status& status);
// ExitCodeOf(status), but for one that has its own.
ExitCode ExitCodeAfter(const absl::Status& status);

// Runs a download: the first Ctrl-C ends it, and it removes what it wrote.
absl::Status EndableDownload(CliContext& context, const std::function<absl::Status()>& download);

}  // namespace graft
