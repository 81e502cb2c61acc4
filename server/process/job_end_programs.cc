#include "server/process/job_end_programs.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/jobs/job_state.h"
#include "common/telemetry/log.h"
#include "google/protobuf/util/json_util.h"

namespace graft {
namespace {

constexpr int kEndsLookedAt = 100;

std::string JsonOf(const v1::Job& job) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(job, &json, options).ok()) return "{}\n";
  return absl::StrCat(json, "\n");
}

const char* ResultOf(const ProgramEnd& end) {
  if (end.cut_short) return "interrupted";
  if (end.timed_out) return "timeout";
  return end.status.success() ? "ok" : "failed";
}

}  // namespace

absl::Status CheckJobEndProgram(const std::string& program) {
  struct stat info;
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("--on-job-end: ", program, " ", why));
  };
  if (::stat(program.c_str(), &info) != 0) return refuse("is not there; give a program's path");
  if (!S_ISREG(info.st_mode)) return refuse("is no file; give a program's path");
  if (::access(program.c_str(), X_OK) == 0) return absl::OkStatus();
  return refuse("is not executable for this user (chmod +x)");
}

JobEndPrograms::JobEndPrograms(JobEndOptions options, JobStore& store, MetricRegistry& metrics)
    : options_(std::move(options)),
      store_(store),
      programs_(metrics.AddCounter("graft_job_end_programs_total",
                                   "Runs of --on-job-end's program, by how they ended.",
                                   {"result"})),
      stop_(*options_.clock) {
  for (const char* result : {"ok", "failed", "timeout", "interrupted", "not_started"}) {
    programs_.Add({result}, 0);
  }
  subscription_ = store.Subscribe("", [this](const JobChange& change) {
    if (change.state == change.previous_state || !IsFinal(change.state)) return;
    MutexLock lock(mutex_);
    look_ = true;
    changed_.NotifyAll();
  });
  for (int i = 0; i < options_.at_once; ++i) {
    threads_.emplace_back([this] { Run(); });
    pthread_setname_np(threads_.back().native_handle(), absl::StrCat("job-end-", i + 1).c_str());
  }
}

JobEndPrograms::~JobEndPrograms() { Stop(absl::ZeroDuration()); }

void JobEndPrograms::Stop(absl::Duration time) {
  subscription_.reset();
  stop_.Stop();
  {
    const absl::Duration deadline = options_.clock->Boottime() + time;
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
    while (!in_hand_.empty() && options_.clock->WaitUntil(changed_, mutex_, deadline)) {
    }
  }
  cut_short_.Stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void JobEndPrograms::Run() {
  while (const std::optional<std::string> job = Take()) {
    absl::Duration delay = options_.first_retry_delay;
    bool ran = false;
    while (true) {
      if (!ran) ran = RunFor(*job);
      if (ran && ForgetEnd(*job)) break;
      if (stop_.WaitFor(delay)) break;
      delay = std::min(2 * delay, options_.last_retry_delay);
    }
    MutexLock lock(mutex_);
    in_hand_.erase(*job);
    if (looking_) done_meanwhile_.insert(*job);
    look_ = true;
    changed_.NotifyAll();
  }
}

std::optional<std::string> JobEndPrograms::Take() {
  while (true) {
    {
      MutexLock lock(mutex_);
      while (!stopping_ && waiting_.empty() && (!look_ || looking_)) changed_.Wait(mutex_);
      if (stopping_) return std::nullopt;
      if (!waiting_.empty()) {
        std::string job = std::move(waiting_.front());
        waiting_.pop_front();
        in_hand_.insert(job);
        return job;
      }
      look_ = false;
      looking_ = true;
    }
    Look();
  }
}

void JobEndPrograms::Look() {
  const absl::StatusOr<std::vector<std::string>> ends = store_.MarkedEnds(kEndsLookedAt);
  if (!ends.ok()) {
    Log(LogLevel::kWarning, "cannot read which jobs' ends are to be told",
        {{"error", ends.status().ToString()}});
    stop_.WaitFor(options_.first_retry_delay);
  }
  MutexLock lock(mutex_);
  looking_ = false;
  look_ |= !ends.ok();
  for (const std::string& job : ends.value_or(std::vector<std::string>())) {
    if (!in_hand_.contains(job) && !done_meanwhile_.contains(job)) waiting_.push_back(job);
  }
  done_meanwhile_.clear();
  changed_.NotifyAll();
}

absl::StatusOr<ProgramEnd> JobEndPrograms::RunProgram(const v1::Job& job) {
  BoundedProgram program;
  program.argv = {options_.program};
  program.environment = {{"GRAFT_JOB", job.name()},
                         {"GRAFT_STATE", StateName(job.state())},
                         {"GRAFT_SERVER", options_.server}};
  program.input = JsonOf(job);
  program.limit = options_.limit;
  program.on_line = [&](absl::string_view line) {
    LogJob(LogLevel::kInfo, job.name(), absl::StrCat("on-job-end: ", line));
  };
  return RunBounded(program, cut_short_, *options_.clock);
}

bool JobEndPrograms::RunFor(const std::string& name) {
  const absl::StatusOr<v1::Job> job = store_.GetJob(name);
  if (absl::IsNotFound(job.status())) return true;  // Its mark went with it.
  const absl::StatusOr<ProgramEnd> end = job.ok() ? RunProgram(*job) : job.status();
  if (!end.ok()) {
    programs_.Add({"not_started"});
    LogJob(LogLevel::kError, name, "on-job-end: cannot start the program, tries again",
           {{"error", end.status().ToString()}});
    return false;
  }
  const std::string result = ResultOf(*end);
  programs_.Add({result});
  LogJob(result == "ok" ? LogLevel::kInfo : LogLevel::kWarning, name,
         "on-job-end: the program ended",
         {{"result", result},
          {"end", end->status.ToString()},
          {"dropped_bytes", end->dropped_bytes == 0 ? "" : absl::StrCat(end->dropped_bytes)}});
  return !end->cut_short;
}

bool JobEndPrograms::ForgetEnd(const std::string& job) {
  const absl::Status forgotten = store_.ForgetEnd(job);
  if (forgotten.ok() || absl::IsNotFound(forgotten)) return true;
  LogJob(LogLevel::kWarning, job, "on-job-end: cannot store that the program has run",
         {{"error", forgotten.ToString()}});
  return false;
}

}  // namespace graft
