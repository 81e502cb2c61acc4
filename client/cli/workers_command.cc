// graft workers.

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/listing.h"
#include "client/cli/output.h"
#include "common/base/status_macros.h"
#include "common/text/exact_number.h"

namespace graft {
namespace {

struct WorkersOptions {
  std::string output;
};

std::vector<ListColumn> WorkerColumns() {
  return {{"WORKER", "name"},      {"", "connected"},      {"HOST~", "hostname"},
          {"", "version"},         {"DEVICE~", "devices"}, {"THREADS>?", "engine_threads"},
          {"BUSY>", "busy_slots"}, {"", "slots"},          {"HEARD>", "seconds_since_heard"},
          {"RUNS~", "jobs"},       {"", "serves_only"}};
}

std::vector<Cell> WorkerCells(const v1::Worker& worker) {
  const Cell runs =
      worker.serves_only() ? Cell{"texts only", ""} : TextCell(absl::StrJoin(worker.jobs(), ", "));
  const Cell none = TextCell("");
  if (!worker.connected()) {
    return {{worker.name()},
            {"", "false"},
            none,
            none,
            {"away", ""},
            none,
            none,
            none,
            none,
            runs,
            none};
  }
  const int busy = worker.slots() - worker.free_slots();
  return {{worker.name()},
          {"", "true"},
          TextCell(worker.hostname()),
          TextCell(worker.version()),
          TextCell(absl::StrJoin(worker.devices(), ", ")),
          worker.engine_threads() > 0 ? CountCell(worker.engine_threads()) : none,
          {absl::StrCat(busy, "/", worker.slots()), absl::StrCat(busy)},
          {absl::StrCat(worker.slots())},
          {absl::StrCat(FormatSeconds(worker.seconds_since_heard()), " ago"),
           ExactNumber(worker.seconds_since_heard())},
          runs,
          {"", worker.serves_only() ? "true" : "false"}};
}

absl::Status RunWorkers(CliContext& context, const WorkersOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  Listing list(format, WorkerColumns());
  v1::ListWorkersRequest request;
  do {
    ASSIGN_OR_RETURN(const v1::ListWorkersResponse response, context.client->ListWorkers(request));
    for (const v1::Worker& worker : response.workers()) list.Add(worker, WorkerCells(worker));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  if (list.size() == 0 && format == OutputFormat::kTable) {
    std::fputs("graft: no worker is connected: jobs wait. graft-server --workers auto starts one\n",
               stderr);
    return absl::OkStatus();
  }
  list.End();
  return absl::OkStatus();
}

}  // namespace

void AddWorkersCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<WorkersOptions>();
  CLI::App* command =
      AddCommand(app, run, "workers", "List the workers: device, CPU threads, what each runs",
                 "graft workers", options, RunWorkers);
  AddOutputFlag(*command, options->output);
}

}  // namespace graft
