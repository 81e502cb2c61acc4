#include <unistd.h>

#include <cstdio>
#include <memory>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/contexts.h"
#include "client/cli/next_steps.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/terminal.h"
#include "common/base/byte_text.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr char kPrintedPayload[] = "graft/already-printed";
constexpr char kExitCodePayload[] = "graft/exit-code";
// Of sample texts where no line is redrawn.
constexpr size_t kPlainColumns = 128;

// What a watch of one job looks like. Thread-safe: the stream's messages and the ticks come on
// threads of their own.
class WatchScreen {
 public:
  explicit WatchScreen(const CliContext& context)
      : json_(context.json),
        line_(stdout),
        redraws_(!context.json && line_.live()),
        view_({"", !redraws_, IsUtf8Locale()}) {}

  void Show(const v1::WatchJobResponse& response) {
    MutexLock lock(mutex_);
    const absl::Duration now = Clock::Real().Boottime();
    std::string lines;
    if (json_) {
      if (response.has_event()) lines = ToJson(response.event()) + "\n";
    } else if (response.has_event()) {
      lines = view_.Add(response.event(), now, redraws_ ? line_.columns() : kPlainColumns);
    } else {
      lines = view_.Add(response.heartbeat(), now);
    }
    Put(lines, stdout);
  }

  // Messages and the redrawn line never share a row, whichever stream the messages go to.
  void Say(const std::string& lines, FILE* stream) {
    MutexLock lock(mutex_);
    Put(lines, stream);
  }

  void Redraw() {
    MutexLock lock(mutex_);
    Put("", stdout);
  }

  // The line is gone after this, and stays so.
  void End() {
    MutexLock lock(mutex_);
    line_.Erase();
    ended_ = true;
  }

 private:
  void Put(const std::string& lines, FILE* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!lines.empty()) {
      line_.Erase();
      std::fputs(json_ ? lines.c_str() : Printable(lines).c_str(), stream);
      std::fflush(stream);
    }
    if (!redraws_ || ended_) return;
    line_.Draw(view_.Line(line_.columns(), Clock::Real().Boottime()));
  }

  const bool json_;
  Mutex mutex_;
  LiveLine line_ ABSL_GUARDED_BY(mutex_);
  const bool redraws_;
  ProgressView view_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::string GraftCommand(const CliContext& context) {
  const bool usual = context.server == UsualServer().value_or(CliContext().server);
  return usual ? "graft" : absl::StrCat("graft --server ", context.server);
}

absl::Status AlreadyPrinted(absl::StatusCode code) {
  absl::Status status(code, "");
  status.SetPayload(kPrintedPayload, absl::Cord("1"));
  return status;
}

absl::Status AlreadyPrinted(ExitCode code) {
  if (code == kExitDone) return absl::OkStatus();
  absl::Status status = AlreadyPrinted(absl::StatusCode::kFailedPrecondition);
  status.SetPayload(kExitCodePayload, absl::Cord(absl::StrCat(code)));
  return status;
}

ExitCode ExitCodeAfter(const absl::Status& status) {
  const absl::optional<absl::Cord> own = status.GetPayload(kExitCodePayload);
  int code = 0;
  return own && absl::SimpleAtoi(std::string(*own), &code) ? static_cast<ExitCode>(code)
                                                           : ExitCodeOf(status);
}

bool IsAlreadyPrinted(const absl::Status& status) {
  return status.GetPayload(kPrintedPayload).has_value();
}

absl::Status EndableDownload(CliContext& context, const std::function<absl::Status()>& download) {
  context.interrupts->EndStreamsFirst();
  const absl::Status status = download();
  const bool ended = !status.ok() && context.interrupts->interrupted();
  return ended ? AlreadyPrinted(absl::StatusCode::kCancelled) : status;
}

absl::Status FollowJob(CliContext& context, const std::string& name, int64_t after_sequence) {
  context.interrupts->EndStreamsFirst();
  WatchScreen screen(context);
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  context.interrupts->SetTick([&] { screen.Redraw(); });
  const absl::Status watched = context.client->WatchJob(
      name, after_sequence,
      [&](const v1::WatchJobResponse& response) {
        if (response.event().has_state_change()) state = response.event().state_change().to();
        screen.Show(response);
        return !context.interrupts->interrupted();
      },
      [&](const absl::Status& why) {
        screen.Say(
            absl::StrCat("graft: the stream broke (", why.message(), "); connecting again\n"),
            stderr);
      });
  context.interrupts->SetTick({});
  screen.End();
  if (context.interrupts->interrupted()) {
    screen.Say(absl::StrCat("graft: stopped watching; ", name,
                            " goes on. Again: ", GraftCommand(context), " watch ", name, "\n"),
               stderr);
    return AlreadyPrinted(absl::StatusCode::kCancelled);
  }
  RETURN_IF_ERROR(watched);
  const absl::StatusOr<v1::Job> job = context.client->GetJob(name);
  // It was done before after_sequence; or it has been deleted since, which does not matter here.
  if (state == v1::JOB_STATE_UNSPECIFIED) RETURN_IF_ERROR(job.status());
  if (job.ok()) state = job->state();
  const bool succeeded = state == v1::JOB_STATE_SUCCEEDED;
  if (job.ok() && !context.json) {
    screen.Say(NextSteps(*job, GraftCommand(context)), stdout);
  }
  if (succeeded) return absl::OkStatus();
  return AlreadyPrinted(absl::StatusCode::kFailedPrecondition);
}

}  // namespace graft
