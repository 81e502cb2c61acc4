#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/live_block.h"
#include "client/cli/next_steps.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/terminal.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

// Of sample texts where nothing is redrawn.
constexpr size_t kPlainWidth = 128;

// What a watch of several jobs looks like: their lines, each with its job's name, above a block
// with a line for each job that is not done. Thread-safe.
class ManyJobsScreen {
 public:
  ManyJobsScreen(const CliContext& context, const std::vector<std::string>& names)
      : json_(context.json), names_(names), block_(stdout), redraws_(!json_ && block_.live()) {
    for (const std::string& name : names) {
      views_.push_back(
          std::make_unique<ProgressView>(ProgressView::Options{name, !redraws_, IsUtf8Locale()}));
    }
  }

  void Show(size_t job, const v1::WatchJobResponse& response) {
    MutexLock lock(mutex_);
    const absl::Duration now = Clock::Real().Boottime();
    if (json_) {
      if (!response.has_event()) return;
      return Put(absl::StrCat("{\"job\":", nlohmann::json(names_[job]).dump(),
                              ",\"event\":", ToJson(response.event()), "}\n"),
                 stdout);
    }
    const size_t columns = redraws_ ? TerminalColumns(STDOUT_FILENO) : kPlainWidth;
    Put(response.has_event() ? views_[job]->Add(response.event(), now, columns)
                             : views_[job]->Add(response.heartbeat(), now),
        stdout);
  }

  void Say(const std::string& lines, FILE* stream) {
    MutexLock lock(mutex_);
    Put(lines, stream);
  }

  void Redraw() {
    MutexLock lock(mutex_);
    Put("", stdout);
  }

  // The job's line is gone after this.
  void End(size_t job) {
    MutexLock lock(mutex_);
    views_[job].reset();
    Put("", stdout);
  }

 private:
  void Put(const std::string& lines, FILE* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!lines.empty()) {
      block_.Erase();
      std::fputs(json_ ? lines.c_str() : Printable(lines).c_str(), stream);
      std::fflush(stream);
    }
    if (redraws_) Draw();
  }

  void Draw() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const size_t columns = std::max<size_t>(TerminalColumns(STDOUT_FILENO), 2) - 1;
    // A line less than the terminal has, and one for those that have no room.
    const size_t room = std::max<size_t>(block_.rows(), 3) - 2;
    std::string text;
    size_t drawn = 0, left = 0;
    for (const auto& view : views_) {
      if (view == nullptr) continue;
      if (drawn == room) {
        ++left;
        continue;
      }
      ++drawn;
      absl::StrAppend(&text, OneLine(view->Line(columns, Clock::Real().Boottime()), columns), "\n");
    }
    if (left > 0)
      absl::StrAppend(&text, OneLine(absl::StrCat("and ", left, " more"), columns), "\n");
    text.empty() ? block_.Erase() : block_.Draw(text);
  }

  const bool json_;
  const std::vector<std::string> names_;
  Mutex mutex_;
  LiveBlock block_ ABSL_GUARDED_BY(mutex_);
  const bool redraws_;
  std::vector<std::unique_ptr<ProgressView>> views_ ABSL_GUARDED_BY(mutex_);  // Null: it is done.
};

// How one of several came to its end.
absl::Status FollowOne(CliContext& context, ManyJobsScreen& screen, size_t place,
                       const std::string& name) {
  RETURN_IF_ERROR(context.client->WatchJob(
      name, 0,
      [&](const v1::WatchJobResponse& response) {
        screen.Show(place, response);
        return !context.interrupts->interrupted();
      },
      [&](const absl::Status& why) {
        screen.Say(absl::StrCat("graft: the stream of ", name, " broke (", why.message(),
                                "); connecting again\n"),
                   stderr);
      }));
  screen.End(place);
  if (context.interrupts->interrupted()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const v1::Job job, context.client->GetJob(name));
  if (job.state() == v1::JOB_STATE_SUCCEEDED) return absl::OkStatus();
  if (!context.json) screen.Say(NextSteps(job, GraftCommand(context)), stdout);
  return AlreadyPrinted(absl::StatusCode::kFailedPrecondition);
}

// The first that the user has not seen yet, else the first.
absl::Status WorstOf(const std::vector<absl::Status>& statuses) {
  absl::Status worst;
  for (const absl::Status& status : statuses) {
    if (worst.ok() || (IsAlreadyPrinted(worst) && !status.ok() && !IsAlreadyPrinted(status))) {
      worst = status;
    }
  }
  return worst;
}

}  // namespace

absl::Status FollowJobs(CliContext& context, const std::vector<std::string>& names) {
  context.interrupts->EndStreamsFirst();
  std::vector<std::string> jobs;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const v1::Job job, context.client->GetJob(name));
    if (std::find(jobs.begin(), jobs.end(), job.name()) == jobs.end()) jobs.push_back(job.name());
  }
  ManyJobsScreen screen(context, jobs);
  context.interrupts->SetTick([&] { screen.Redraw(); });
  std::vector<absl::Status> ends(jobs.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < jobs.size(); ++i) {
    threads.emplace_back([&, i] {
      ends[i] = FollowOne(context, screen, i, jobs[i]);
      screen.End(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  context.interrupts->SetTick({});
  if (!context.interrupts->interrupted()) return WorstOf(ends);
  screen.Say(absl::StrCat("graft: stopped watching; they go on. Again: ", GraftCommand(context),
                          " watch ", absl::StrJoin(jobs, " "), "\n"),
             stderr);
  return AlreadyPrinted(absl::StatusCode::kCancelled);
}

}  // namespace graft
