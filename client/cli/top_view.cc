#include "client/cli/top_view.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/queue_text.h"

namespace graft {
namespace {

constexpr size_t kTableOverhead = 3;  // An empty line, the header, "and 3 more".

struct TopRows {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  int64_t total = 0;  // With those that are not in `rows`.
};

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

TopRows WorkerRows(const v1::ListWorkersResponse& workers) {
  TopRows table{{"WORKER", "DEVICE~", "BUSY>", "HEARD>?", "RUNS~"}, {}, workers.workers_size()};
  for (const v1::Worker& worker : workers.workers()) {
    const std::string runs = OrDash(absl::StrJoin(worker.jobs(), ", "));
    if (!worker.connected()) {
      table.rows.push_back({worker.name(), "away", "-", "-", runs});
      continue;
    }
    table.rows.push_back({worker.name(), absl::StrJoin(worker.devices(), ", "),
                          absl::StrCat(worker.slots() - worker.free_slots(), "/", worker.slots()),
                          absl::StrCat(FormatSeconds(worker.seconds_since_heard()), " ago"), runs});
  }
  return table;
}

std::string Percent(const v1::Job& job) {
  if (job.total_steps() <= 0) return "-";
  return absl::StrCat(100 * job.step() / job.total_steps(), "%");
}

TopRows RunningRows(const v1::ListJobsResponse& running) {
  TopRows table{{"RUNNING", "NAME~?", "METHOD?", "STAGE?", "STEP>", "DONE>", "LEFT>", "LOSS>?"},
                {},
                running.jobs_size()};
  for (const v1::Job& job : running.jobs()) {
    const auto loss = job.last_metrics().find("train/loss");
    table.rows.push_back(
        {job.name(), OneLine(job.display_name(), 32), job.method(),
         job.stage() == v1::JOB_STAGE_UNSPECIFIED ? "-" : StageText(job.stage()),
         job.total_steps() > 0 ? absl::StrCat(job.step(), "/", job.total_steps())
                               : absl::StrCat(job.step()),
         Percent(job), job.eta_seconds() > 0 ? FormatSeconds(job.eta_seconds()) : "-",
         FormatNumber(loss == job.last_metrics().end() ? std::nan("") : loss->second, 3)});
  }
  return table;
}

TopRows QueueRows(const v1::GetQueueResponse& queue) {
  TopRows table{{"QUEUED", "NAME~?", "STARTS IN>?", "WAITS~"}, {}, queue.total()};
  for (const v1::QueueEntry& entry : queue.jobs()) {
    table.rows.push_back({entry.name(), OneLine(entry.display_name(), 32), OrDash(StartText(entry)),
                          OneLine(entry.waits(), 100)});
  }
  return table;
}

std::string HeadLine(const TopState& state) {
  int connected = 0, slots = 0, busy = 0;
  for (const v1::Worker& worker : state.workers.workers()) {
    if (!worker.connected()) continue;
    ++connected;
    slots += worker.slots();
    busy += worker.slots() - worker.free_slots();
  }
  return absl::StrCat("graft at ", state.server, "  ", connected,
                      connected == 1 ? " worker, " : " workers, ", busy, " of ", slots,
                      " slots busy, ", state.running.jobs_size(), " running, ", state.queue.total(),
                      " queued");
}

// At most `lines` of them; takes those that it has from `lines`.
void AppendTable(const TopRows& table, size_t columns, size_t most, size_t& lines,
                 std::string& text) {
  if (table.total == 0 || std::min(most, lines) <= kTableOverhead) return;
  const size_t shown = std::min(table.rows.size(), std::min(most, lines) - kTableOverhead);
  Table drawn(table.header);
  for (size_t i = 0; i < shown; ++i) drawn.AddRow(table.rows[i]);
  absl::StrAppend(&text, "\n", drawn.ToString(columns));
  lines -= shown + 2;
  const int64_t more = table.total - static_cast<int64_t>(shown);
  if (more <= 0) return;
  absl::StrAppend(&text, "and ", more, " more\n");
  --lines;
}

}  // namespace

std::string TopText(const TopState& state, size_t columns, size_t rows) {
  std::string text = absl::StrCat(OneLine(HeadLine(state), columns), "\n");
  size_t lines = rows - std::min<size_t>(rows, 1);
  AppendTable(WorkerRows(state.workers), columns, std::max(kTableOverhead + 1, rows / 3), lines,
              text);
  const TopRows queue = QueueRows(state.queue);
  const size_t kept = queue.total > 0 ? kTableOverhead + 1 : 0;
  AppendTable(RunningRows(state.running), columns, lines - std::min(lines, kept), lines, text);
  AppendTable(queue, columns, lines, lines, text);
  return text;
}

}  // namespace graft
