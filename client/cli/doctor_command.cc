// graft doctor.

#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/terminal.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

// Of the queue so many are looked at.
constexpr int kQueuedJobs = 100;

struct DoctorOptions {};

// What was looked at, and what was found.
class Findings {
 public:
  void Ok(const std::string& what, const std::string& text) { Add("ok", what, text); }
  void Note(const std::string& what, const std::string& text) { Add("note", what, text); }
  // `remedy`: what would be right.
  void Wrong(const std::string& what, const std::string& text, const std::string& remedy) {
    wrong_ = true;
    Add("WRONG", what, absl::StrCat(text, ": ", remedy));
  }
  bool wrong() const { return wrong_; }

  std::string Text() const {
    std::string text;
    for (const auto& [state, what, found] : all_) {
      absl::StrAppendFormat(&text, "%-6s%-9s%s\n", state, what,
                            OneLine(found, std::numeric_limits<size_t>::max()));
    }
    return Printable(text);
  }
  std::string Json() const {
    std::string text;
    for (const auto& [state, what, found] : all_) {
      const nlohmann::json json = {
          {"what", what}, {"ok", state != "WRONG"}, {"state", state}, {"found", found}};
      absl::StrAppend(&text, json.dump(), "\n");
    }
    return text;
  }

 private:
  struct Finding {
    std::string state, what, found;
  };
  void Add(const std::string& state, const std::string& what, const std::string& found) {
    all_.push_back({state, what, found});
  }

  std::vector<Finding> all_;
  bool wrong_ = false;
};

void LookAtTerminal(Findings& findings) {
  findings.Ok("graft", kVersion);
  if (!IsUtf8Locale()) {
    findings.Note("locale",
                  "is not UTF-8: of texts only ASCII is shown. LANG=C.UTF-8 shows all of it");
  }
}

// The first call: whether somebody answers.
absl::Status LookAtServer(CliContext& context, v1::ListWorkersResponse& workers,
                          Findings& findings) {
  v1::ListWorkersRequest request;
  request.set_page_size(kMaxPageSize);
  const absl::Duration begin = Clock::Real().Boottime();
  absl::StatusOr<v1::ListWorkersResponse> response = context.client->ListWorkers(request);
  if (!response.ok()) {
    findings.Wrong(
        "server",
        absl::StrCat("no answer at ", context.server, " (", response.status().message(), ")"),
        "start graft-server there, or name another with --server or GRAFT_SERVER");
    return response.status();
  }
  workers = *std::move(response);
  const absl::Duration took = Clock::Real().Boottime() - begin;
  findings.Ok("server", absl::StrFormat("answers at %s, within %.1f ms", context.server,
                                        absl::ToDoubleMilliseconds(took)));
  return absl::OkStatus();
}

void LookAtWorker(const v1::Worker& worker, Findings& findings) {
  const std::string silent = FormatSeconds(worker.seconds_since_heard());
  if (!worker.connected()) {
    findings.Wrong(
        "worker",
        absl::StrCat(worker.name(), " is away and holds ", absl::StrJoin(worker.jobs(), ", ")),
        "they are queued again when its lease ends; its log and its machine say why");
    return;
  }
  const std::string name = absl::StrCat(worker.name(), " on ", worker.hostname());
  if (worker.seconds_since_heard() >= kSilenceSeconds) {
    findings.Wrong("worker", absl::StrCat(name, " was not heard for ", silent),
                   "one is heard every few seconds; look at the network and at its log");
    return;
  }
  std::string text = absl::StrCat(name, ": ", absl::StrJoin(worker.devices(), ", "));
  if (worker.engine_threads() > 0)
    absl::StrAppend(&text, ", ", worker.engine_threads(), " threads");
  absl::StrAppend(&text, ", ", worker.slots() - worker.free_slots(), " of ", worker.slots(),
                  " slots busy, heard ", silent, " ago");
  findings.Ok("worker", text);
  if (worker.version() != kVersion) {
    findings.Note("worker",
                  absl::StrCat(worker.name(), " is graft ", worker.version(), ", this is ",
                               kVersion, ". One of the landing before still works"));
  }
}

void LookAtWorkers(const v1::ListWorkersResponse& workers, Findings& findings) {
  bool connected = false;
  for (const v1::Worker& worker : workers.workers()) {
    connected |= worker.connected();
    LookAtWorker(worker, findings);
  }
  if (!connected) {
    findings.Wrong("workers", "none is connected, so that jobs wait",
                   "graft-server --workers auto starts one, and graft-worker --server joins");
  }
}

bool IsStuck(const v1::QueueEntry& entry) {
  return entry.reason() == v1::WAIT_REASON_NO_FITTING_WORKER ||
         entry.reason() == v1::WAIT_REASON_SET_ASIDE;
}

absl::Status LookAtQueue(CliContext& context, Findings& findings) {
  v1::GetQueueRequest request;
  request.set_page_size(kQueuedJobs);
  ASSIGN_OR_RETURN(const v1::GetQueueResponse queue, context.client->GetQueue(request));
  findings.Ok("queue",
              queue.total() == 0
                  ? "no job waits"
                  : absl::StrCat(queue.total(), " waiting; first: ", queue.jobs(0).waits()));
  for (const v1::QueueEntry& entry : queue.jobs()) {
    if (!IsStuck(entry)) continue;
    findings.Wrong("queue", absl::StrCat(entry.name(), " waits, ", entry.waits()),
                   absl::StrCat(GraftCommand(context), " queue ", entry.name(),
                                " says what each worker lacks"));
  }
  return absl::OkStatus();
}

absl::Status LookAtModels(CliContext& context, Findings& findings) {
  v1::ListModelsRequest request;
  request.set_page_size(kMaxPageSize);
  ASSIGN_OR_RETURN(const v1::ListModelsResponse response, context.client->ListModels(request));
  std::vector<std::string> names;
  for (const v1::Model& model : response.models()) names.push_back(model.name());
  if (names.empty()) {
    findings.Note("models", absl::StrCat("no base model yet. ", GraftCommand(context),
                                         " models add gpt2 FOLDER adds one"));
  } else {
    findings.Ok("models", absl::StrJoin(names, ", "));
  }
  return absl::OkStatus();
}

absl::Status LookAtAll(CliContext& context, Findings& findings) {
  LookAtTerminal(findings);
  v1::ListWorkersResponse workers;
  RETURN_IF_ERROR(LookAtServer(context, workers, findings));
  LookAtWorkers(workers, findings);
  RETURN_IF_ERROR(LookAtQueue(context, findings));
  return LookAtModels(context, findings);
}

absl::Status RunDoctor(CliContext& context, const DoctorOptions&) {
  Findings findings;
  const absl::Status status = LookAtAll(context, findings);
  std::fputs((context.json ? findings.Json() : findings.Text()).c_str(), stdout);
  if (!status.ok()) return findings.wrong() ? AlreadyPrinted(ExitCodeOf(status)) : status;
  return AlreadyPrinted(findings.wrong() ? kExitFailed : kExitDone);
}

}  // namespace

void AddDoctorCommand(CLI::App& app, RunCommand& run) {
  AddCommand(app, run, "doctor",
             "Look at what jobs need: the server, its workers and their devices, the queue, base "
             "models. Exit code 1 if something is wrong; each line says what would be right",
             "graft doctor", std::make_shared<DoctorOptions>(), RunDoctor);
}

}  // namespace graft
