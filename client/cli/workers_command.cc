// graft workers.

#include <unistd.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

struct WorkersOptions {};

std::vector<std::string> Cells(const v1::Worker& worker) {
  const std::string runs = worker.jobs().empty() ? "-" : absl::StrJoin(worker.jobs(), ", ");
  if (!worker.connected()) return {worker.name(), "-", "away", "-", "-", "-", runs};
  return {worker.name(),
          worker.hostname(),
          absl::StrJoin(worker.devices(), ", "),
          worker.engine_threads() > 0 ? absl::StrCat(worker.engine_threads()) : "-",
          absl::StrCat(worker.slots() - worker.free_slots(), "/", worker.slots()),
          absl::StrCat(FormatSeconds(worker.seconds_since_heard()), " ago"),
          runs};
}

absl::Status RunWorkers(CliContext& context, const WorkersOptions&) {
  Table table({"WORKER", "HOST~", "DEVICE~", "THREADS>?", "BUSY>", "HEARD>", "RUNS~"});
  int workers = 0;
  v1::ListWorkersRequest request;
  do {
    ASSIGN_OR_RETURN(const v1::ListWorkersResponse response, context.client->ListWorkers(request));
    for (const v1::Worker& worker : response.workers()) {
      ++workers;
      if (context.json) std::puts(ToJson(worker).c_str());
      table.AddRow(Cells(worker));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  if (context.json) return absl::OkStatus();
  if (workers == 0) {
    std::fputs("graft: no worker is connected: jobs wait. graft-server --workers auto starts one\n",
               stderr);
    return absl::OkStatus();
  }
  std::fputs(table.ToString(LineRoom(STDOUT_FILENO)).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddWorkersCommand(CLI::App& app, RunCommand& run) {
  AddCommand(app, run, "workers", "List the workers: device, CPU threads, what each runs",
             "graft workers", std::make_shared<WorkersOptions>(), RunWorkers);
}

}  // namespace graft
