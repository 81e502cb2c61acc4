// graft top.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/live_block.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "client/cli/top_view.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

// What is asked for at once; of more there is a number.
constexpr int kTopRows = 200;
constexpr absl::Duration kLook = absl::Milliseconds(100);  // For a Ctrl-C, between two pictures.

struct TopOptions {
  double interval_seconds = 2;
  bool once = false;
};

absl::StatusOr<TopState> LookAtServerOnce(CliContext& context) {
  TopState state;
  state.server = context.server;
  v1::ListWorkersRequest workers;
  workers.set_page_size(kTopRows);
  ASSIGN_OR_RETURN(state.workers, context.client->ListWorkers(workers));
  v1::ListJobsRequest running;
  running.set_page_size(kTopRows);
  running.set_filter("state = \"RUNNING\"");
  ASSIGN_OR_RETURN(state.running, context.client->ListJobs(running));
  v1::GetQueueRequest queue;
  queue.set_page_size(kTopRows);
  ASSIGN_OR_RETURN(state.queue, context.client->GetQueue(queue));
  return state;
}

std::string TopJson(const TopState& state) {
  return absl::StrCat("{\"workers\":", ToJson(state.workers),
                      ",\"running\":", ToJson(state.running), ",\"queue\":", ToJson(state.queue),
                      "}\n");
}

absl::Status PrintOnce(CliContext& context) {
  ASSIGN_OR_RETURN(const TopState state, LookAtServerOnce(context));
  const std::string text = context.json
                               ? TopJson(state)
                               : Printable(TopText(state, LineRoom(STDOUT_FILENO), 3 * kTopRows));
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

// Until Ctrl-C. A server that goes away is said, and looked for again.
absl::Status RedrawTop(CliContext& context, LiveBlock& block, absl::Duration interval) {
  context.interrupts->EndStreamsFirst();
  Mutex mutex;
  CondVar never;
  while (!context.interrupts->interrupted()) {
    const absl::StatusOr<TopState> state = LookAtServerOnce(context);
    if (!state.ok() && !IsUnreachable(state.status())) return state.status();
    const size_t columns = std::max<size_t>(TerminalColumns(STDOUT_FILENO), 2) - 1;
    block.Draw(state.ok() ? TopText(*state, columns, std::max<size_t>(block.rows(), 2) - 1)
                          : absl::StrCat(OneLine(absl::StrCat("no answer from ", context.server,
                                                              ": ", state.status().message()),
                                                 columns),
                                         "\n"));
    MutexLock lock(mutex);
    const absl::Duration next = Clock::Real().Boottime() + interval;
    while (!context.interrupts->interrupted() && Clock::Real().Boottime() < next) {
      Clock::Real().WaitUntil(never, mutex, std::min(next, Clock::Real().Boottime() + kLook));
    }
  }
  return absl::OkStatus();
}

absl::Status RunTop(CliContext& context, const TopOptions& options) {
  LiveBlock block(stdout);
  if (options.once || context.json || !block.live()) return PrintOnce(context);
  return RedrawTop(context, block, absl::Seconds(options.interval_seconds));
}

}  // namespace

void AddTopCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* command = AddCommand(
      app, run, "top",
      "Watch workers, running jobs and the queue, until Ctrl-C; anywhere but on a terminal: once",
      "graft top --once", options, RunTop);
  command->add_flag("--once", options->once, "Print it once");
  command->add_option("--interval", options->interval_seconds, "Seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
}

}  // namespace graft
