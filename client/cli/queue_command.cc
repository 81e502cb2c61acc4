// graft queue.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/listing.h"
#include "client/cli/output.h"
#include "client/cli/queue_text.h"
#include "client/cli/terminal.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

struct QueueOptions {
  std::string name;
  int limit = 50;
  std::string output;
};

std::string WorkerText(const v1::WorkerFit& worker) {
  if (worker.lacks_size() > 0) return absl::StrCat("lacks ", absl::StrJoin(worker.lacks(), ", "));
  if (worker.handed_back()) return "handed it back";
  if (worker.set_aside_seconds() > 0) {
    return absl::StrCat("set aside for ", FormatSeconds(worker.set_aside_seconds()),
                        ", since its attempts came to nothing");
  }
  return worker.free_slots() > 0 ? "can do it, and is free" : "can do it";
}

absl::Status ShowPlace(CliContext& context, const std::string& name) {
  v1::GetQueueRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(const v1::GetQueueResponse response, context.client->GetQueue(request));
  if (response.jobs().empty()) return absl::InternalError("the server told of no job");
  const v1::QueueEntry& entry = response.jobs(0);
  const auto field = [](const char* key, const std::string& value) {
    if (!value.empty()) std::printf("%-14s %s\n", key, Printable(value).c_str());
  };
  field("job", entry.name());
  field("name", entry.display_name());
  field("place", absl::StrCat(entry.position(), " of ", response.total()));
  field("waits", entry.waits());
  field("starts in", StartText(entry));
  field("runs before", absl::StrJoin(entry.runs_before(), ", "));
  Table table({"WORKER", "BUSY>", "FOR THIS JOB~"});
  for (const v1::WorkerFit& worker : entry.workers()) {
    table.AddRow({worker.worker(),
                  absl::StrCat(worker.slots() - worker.free_slots(), "/", worker.slots()),
                  WorkerText(worker)});
  }
  if (entry.workers_size() > 0)
    std::printf("\n%s", table.ToString(LineRoom(STDOUT_FILENO)).c_str());
  return absl::OkStatus();
}

std::vector<ListColumn> QueueColumns() {
  return {{"PLACE>", "position"},
          {"JOB", "name"},
          {"NAME~?", "display_name"},
          {"METHOD?", "method"},
          {"PRIORITY>?", "priority"},
          {"", "queue_time"},
          {"STARTS IN>", "expected_start_seconds"},
          {"WAITS~", "waits"}};
}

std::vector<Cell> QueueCells(const v1::QueueEntry& entry) {
  return {{absl::StrCat(entry.position())},
          {entry.name()},
          CutCell(entry.display_name(), 32),
          {entry.method()},
          {absl::StrCat(entry.priority())},
          TimeCell(entry.queue_time()),
          entry.has_expected_start_seconds() ? SecondsCell(entry.expected_start_seconds())
                                             : TextCell(""),
          CutCell(entry.waits(), 100)};
}

absl::Status RunQueue(CliContext& context, const QueueOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  const bool table = format == OutputFormat::kTable;
  if (table && !options.name.empty()) return ShowPlace(context, options.name);
  Listing list(format, QueueColumns());
  v1::GetQueueRequest request;
  request.set_name(options.name);
  int64_t total = 0;
  do {
    request.set_page_size(
        static_cast<int>(std::min<int64_t>(options.limit - list.size(), kMaxPageSize)));
    ASSIGN_OR_RETURN(const v1::GetQueueResponse response, context.client->GetQueue(request));
    total = options.name.empty() ? response.total() : response.jobs_size();
    for (const v1::QueueEntry& entry : response.jobs()) list.Add(entry, QueueCells(entry));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty() && list.size() < options.limit);
  if (total == 0 && table) {
    std::fputs("graft: no job waits\n", stderr);
    return absl::OkStatus();
  }
  list.End();
  if (total > list.size() && format != OutputFormat::kJson) {
    std::fprintf(stderr, "graft: %ld more wait\n", static_cast<long>(total - list.size()));
  }
  return absl::OkStatus();
}

}  // namespace

void AddQueueCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<QueueOptions>();
  CLI::App* command = AddCommand(app, run, "queue",
                                 "List the jobs that wait: why each does, and when it should start",
                                 "graft queue --limit 10", options, RunQueue);
  command->add_option("job", options->name,
                      "Only this one, with what runs before it and what each worker lacks for it");
  command->add_option("--limit", options->limit, "At most this many")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  AddOutputFlag(*command, options->output);
}

}  // namespace graft
