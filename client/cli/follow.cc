#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "absl/strings/cord.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr char kPrintedPayload[] = "graft/already-printed";

size_t TerminalWidth() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 100;
  return size.ws_col;
}

// Keeps one redrawn line below the lines that stay.
class Screen {
 public:
  explicit Screen(bool live) : live_(live) {}
  ~Screen() { Print(""); }

  void Print(const std::string& lines) {
    if (drawn_) std::fputs("\r\033[K", stdout);
    drawn_ = false;
    std::fputs(lines.c_str(), stdout);
    std::fflush(stdout);
  }
  void Draw(const std::string& line) {
    if (!live_) return;
    std::fprintf(stdout, "\r\033[K%s", line.c_str());
    std::fflush(stdout);
    drawn_ = true;
  }
  bool live() const { return live_; }

 private:
  const bool live_;
  bool drawn_ = false;
};

}  // namespace

absl::Status AlreadyPrinted(absl::StatusCode code) {
  absl::Status status(code, "");
  status.SetPayload(kPrintedPayload, absl::Cord("1"));
  return status;
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
  Screen screen(!context.json && isatty(STDOUT_FILENO) != 0);
  ProgressView view(name);
  v1::JobState last_state = v1::JOB_STATE_UNSPECIFIED;
  const auto on_message = [&](const v1::WatchJobResponse& response) {
    if (response.has_event() && response.event().has_state_change()) {
      last_state = response.event().state_change().to();
    }
    if (context.json) {
      if (response.has_event()) screen.Print(ToJson(response.event()) + "\n");
      return !context.interrupts->interrupted();
    }
    if (response.has_heartbeat()) view.Add(response.heartbeat());
    if (response.has_event()) {
      const std::string lines = view.Add(response.event(), !screen.live());
      if (!lines.empty()) screen.Print(lines);
    }
    screen.Draw(view.Line(TerminalWidth()));
    return !context.interrupts->interrupted();
  };
  const absl::Status watched =
      context.client->WatchJob(name, after_sequence, on_message, [&](const absl::Status& why) {
        std::fprintf(stderr, "graft: the stream broke (%s); connecting again\n",
                     std::string(why.message()).c_str());
      });
  if (context.interrupts->interrupted()) {
    screen.Print("");
    std::fprintf(stderr, "graft: stopped watching; %s goes on. Again: graft watch %s\n",
                 name.c_str(), name.c_str());
    return AlreadyPrinted(absl::StatusCode::kCancelled);
  }
  RETURN_IF_ERROR(watched);
  if (last_state == v1::JOB_STATE_UNSPECIFIED) {  // It was done before after_sequence.
    ASSIGN_OR_RETURN(const v1::Job job, context.client->GetJob(name));
    last_state = job.state();
  }
  if (last_state == v1::JOB_STATE_SUCCEEDED) return absl::OkStatus();
  return AlreadyPrinted(absl::StatusCode::kFailedPrecondition);
}

}  // namespace graft
