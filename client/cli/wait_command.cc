// graft wait.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/study_view.h"
#include "client/cli/terminal.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

// Followed at once, each by a stream and a thread; the others' ends are told when one is free.
constexpr size_t kFollowed = 32;

struct WaitOptions {
  std::vector<std::string> names;
  std::string timeout;
};

// A job or a study, as it was when last looked at.
struct Awaited {
  std::string name;
  int64_t last_sequence = 0;
  bool done = false;
  ExitCode code = kExitDone;
  std::string line;  // What is printed of its end, with a line end.
};

std::string EndLine(const std::string& name, const std::string& state, const std::string& why) {
  const std::string text = absl::StrCat(name, " ", state, why.empty() ? "" : ": ", why);
  return absl::StrCat(OneLine(text, std::numeric_limits<size_t>::max()), "\n");
}

Awaited Seen(const v1::Job& job, bool json) {
  Awaited seen{job.name(), job.last_sequence(), job.done(), kExitDone, ""};
  const bool succeeded = job.state() == v1::JOB_STATE_SUCCEEDED;
  const bool cancelled = job.state() == v1::JOB_STATE_CANCELLED;
  seen.code = succeeded ? kExitDone : cancelled ? kExitCancelled : kExitFailed;
  const std::string why = succeeded         ? ""
                          : job.has_error() ? job.error().message()
                                            : job.state_reason();
  seen.line = json ? ToJson(job) + "\n" : EndLine(job.name(), StateText(job.state()), why);
  return seen;
}

Awaited Seen(const v1::Study& study, bool json) {
  Awaited seen{study.name(), study.last_sequence(), study.done(), kExitDone, ""};
  const bool succeeded = study.state() == v1::STUDY_STATE_SUCCEEDED;
  const bool cancelled = study.state() == v1::STUDY_STATE_CANCELLED;
  seen.code = succeeded ? kExitDone : cancelled ? kExitCancelled : kExitFailed;
  const std::string why = succeeded ? "" : study.state_reason();
  seen.line =
      json ? ToJson(study) + "\n" : EndLine(study.name(), StudyStateText(study.state()), why);
  return seen;
}

bool IsStudy(const std::string& name) { return absl::StartsWith(name, "studies/"); }

absl::StatusOr<Awaited> Look(CliContext& context, const std::string& name) {
  if (IsStudy(name)) {
    ASSIGN_OR_RETURN(const v1::Study study, context.client->GetStudy(name));
    return Seen(study, context.json);
  }
  ASSIGN_OR_RETURN(const v1::Job job, context.client->GetJob(name));
  return Seen(job, context.json);
}

// Returns when it is done. The last event, which is there already, comes at once: the client then
// waits as long for this server as any watch does.
absl::Status AwaitEnd(ApiClient& client, const Awaited& one) {
  const int64_t after = std::max<int64_t>(one.last_sequence - 1, 0);
  const auto go_on = [](const auto&) { return true; };
  return IsStudy(one.name) ? client.WatchStudy(one.name, after, go_on)
                           : client.WatchJob(one.name, after, go_on);
}

// Follows them all, and prints each when it is done.
class Waiting {
 public:
  Waiting(CliContext& context, std::vector<Awaited> all)
      : context_(context), size_(all.size()), all_(std::move(all)) {}

  // Until all are done, an error ended each wait that goes on, or the deadline, on boottime.
  void Run(absl::Duration deadline) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<std::thread> threads(std::min(size_, kFollowed));
    for (std::thread& thread : threads) thread = std::thread([this] { FollowSome(); });
    bool timed_out = false;
    {
      MutexLock lock(mutex_);
      while (ended_ < size_ && Clock::Real().Boottime() < deadline) {
        Clock::Real().WaitUntil(changed_, mutex_, deadline);
      }
      timed_out_ = timed_out = ended_ < size_;
    }
    if (timed_out) context_.client->CancelStreams();
    for (std::thread& thread : threads) thread.join();
  }

  // After Run.
  absl::Status Status(const std::string& timeout) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    std::vector<std::string> left;
    std::set<ExitCode> codes;
    for (const Awaited& one : all_) {
      if (!one.done) left.push_back(one.name);
      if (one.done) codes.insert(one.code);
    }
    if (context_.interrupts->interrupted() && !left.empty()) {
      std::fprintf(stderr, "graft: stopped waiting; %s %s on\n", absl::StrJoin(left, ", ").c_str(),
                   left.size() == 1 ? "goes" : "go");
      return AlreadyPrinted(absl::StatusCode::kCancelled);
    }
    if (timed_out_ && !left.empty()) {
      std::fprintf(stderr, "graft: not done after --timeout %s: %s\n", timeout.c_str(),
                   absl::StrJoin(left, ", ").c_str());
      return AlreadyPrinted(kExitNotInTime);
    }
    RETURN_IF_ERROR(error_);
    for (const ExitCode code : {kExitFailed, kExitCancelled}) {
      if (codes.contains(code)) return AlreadyPrinted(code);
    }
    return absl::OkStatus();
  }

 private:
  // One after the other, as long as there are any.
  void FollowSome() ABSL_LOCKS_EXCLUDED(mutex_) {
    for (;;) {
      Awaited one;
      size_t place = 0;
      {
        MutexLock lock(mutex_);
        if (next_ == size_) return;
        place = next_++;
        one = all_[place];
      }
      Tell(place, WaitFor(std::move(one)));
    }
  }

  // A server that was there is waited for as long as by any watch, whatever it is asked when it
  // goes.
  absl::StatusOr<Awaited> WaitFor(Awaited one) {
    const absl::Duration patience = ApiClient::Options().watch_patience;
    absl::Duration heard = Clock::Real().Boottime();
    while (!one.done) {
      absl::Status status = AwaitEnd(*context_.client, one);
      if (status.ok()) {
        heard = Clock::Real().Boottime();
        absl::StatusOr<Awaited> seen = Look(context_, one.name);
        status = seen.status();
        if (seen.ok()) one = *std::move(seen);
      }
      const bool patient = Clock::Real().Boottime() - heard < patience;
      if (!status.ok() && !(IsUnreachable(status) && patient)) return status;
    }
    return one;
  }

  void Tell(size_t place, const absl::StatusOr<Awaited>& end) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    ++ended_;
    changed_.NotifyAll();
    if (!end.ok()) {
      error_.Update(Annotate(end.status(), all_[place].name));
      return;
    }
    all_[place] = *end;
    std::fputs(Printable(end->line).c_str(), stdout);
    std::fflush(stdout);
  }

  CliContext& context_;
  const size_t size_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<Awaited> all_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;   // The first that nobody follows yet.
  size_t ended_ ABSL_GUARDED_BY(mutex_) = 0;  // Done, or not to be waited for any more.
  bool timed_out_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);  // The first.
};

// Seconds, or with a unit. Never, where nothing is said.
absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text) {
  if (text.empty()) return absl::InfiniteDuration();
  double seconds = 0;
  absl::Duration timeout;
  if (absl::SimpleAtod(text, &seconds)) {
    timeout = std::isnan(seconds) ? absl::Seconds(-1) : absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &timeout)) {
    timeout = absl::Seconds(-1);
  }
  if (timeout >= absl::ZeroDuration()) return timeout;
  return absl::InvalidArgumentError(
      absl::StrCat("--timeout: \"", text, "\" is not a time such as 90 (seconds), 15m or 8h"));
}

absl::Status RunWait(CliContext& context, const WaitOptions& options) {
  const absl::Duration begin = Clock::Real().Boottime();
  ASSIGN_OR_RETURN(const absl::Duration timeout, ParseTimeout(options.timeout));
  context.interrupts->EndStreamsFirst();
  std::vector<Awaited> all;
  std::set<std::string> known;
  for (const std::string& name : options.names) {
    ASSIGN_OR_RETURN(Awaited one, Look(context, name));
    if (known.insert(one.name).second) all.push_back(std::move(one));
  }
  Waiting waiting(context, std::move(all));
  waiting.Run(begin + timeout);
  return waiting.Status(options.timeout);
}

}  // namespace

void AddWaitCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<WaitOptions>();
  CLI::App* command = AddCommand(
      app, run, "wait",
      "Wait for jobs and studies to be done: a line at each one's end; exit code 0 if all "
      "succeeded, 1 if one failed, 5 if one was cancelled, 6 if time ran out",
      "graft wait jobs/k3f9 --timeout 8h", options, RunWait);
  command->add_option("job-or-study", options->names, "Jobs, or studies (studies/s7m2)")
      ->required();
  command->add_option("--timeout", options->timeout,
                      "Give up after so long: 90 (seconds), 15m, 8h; what is waited for goes on");
}

}  // namespace graft
