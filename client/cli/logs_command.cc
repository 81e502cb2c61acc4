// graft logs.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/log_printer.h"
#include "client/cli/output.h"
#include "client/cli/usage.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_state.h"

namespace graft {
namespace {

struct LogsOptions {
  std::string job;
  int32_t attempt = 0;
  std::string stream;
  bool follow = false;
};

std::vector<v1::JobLogStream> StreamsOf(const LogsOptions& options) {
  if (options.stream == "engine") return {v1::JOB_LOG_STREAM_ENGINE};
  if (options.stream == "worker") return {v1::JOB_LOG_STREAM_WORKER};
  return {v1::JOB_LOG_STREAM_WORKER, v1::JOB_LOG_STREAM_ENGINE};
}

void PrintJson(v1::JobLogStream stream, const v1::JobLogChunk& chunk) {
  const nlohmann::ordered_json line = {
      {"attempt", chunk.attempt()},
      {"stream", stream == v1::JOB_LOG_STREAM_ENGINE ? "engine" : "worker"},
      {"offset_bytes", chunk.offset_bytes()},
      {"text", chunk.data()}};
  std::puts(line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

absl::Status ReadOne(CliContext& context, const LogsOptions& options, int32_t attempt,
                     v1::JobLogStream stream, LogPrinter& printer) {
  v1::ReadJobLogRequest request;
  request.set_name(options.job);
  request.set_attempt(attempt);
  request.set_stream(stream);
  request.set_follow(options.follow);
  const absl::Status status =
      context.client->ReadJobLog(request, [&](const v1::JobLogChunk& chunk) {
        context.json ? PrintJson(stream, chunk) : printer.Add(stream, chunk);
        return !context.interrupts->interrupted();
      });
  printer.End(stream);
  return status;
}

// The attempt's logs, one after the other, or side by side while they grow.
absl::Status ReadAttempt(CliContext& context, const LogsOptions& options, int32_t attempt,
                         LogPrinter& printer) {
  const std::vector<v1::JobLogStream> streams = StreamsOf(options);
  std::vector<absl::Status> ends(streams.size());
  if (!options.follow) {
    for (const v1::JobLogStream stream : streams) {
      RETURN_IF_ERROR(ReadOne(context, options, attempt, stream, printer));
    }
    return absl::OkStatus();
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < streams.size(); ++i) {
    threads.emplace_back(
        [&, i] { ends[i] = ReadOne(context, options, attempt, streams[i], printer); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& end : ends) RETURN_IF_ERROR(end);
  return absl::OkStatus();
}

// What the server knows of the attempt's end, which its worker may not have lived to write down.
void SayEnd(const CliContext& context, const v1::Job& job, int32_t attempt, LogPrinter& printer) {
  if (context.json) return;
  for (const v1::Attempt& one : job.attempts()) {
    if (one.number() != attempt || one.error().message().empty()) continue;
    printer.Say(absl::StrCat("[attempt ", attempt, " ended: ", one.error().message(), "]"));
  }
}

// Blocks until the job has begun another attempt (true) or is done.
absl::StatusOr<bool> WaitForNextAttempt(CliContext& context, const v1::Job& job) {
  bool begun = false;
  RETURN_IF_ERROR(context.client->WatchJob(
      job.name(), job.last_sequence(), [&](const v1::WatchJobResponse& response) {
        begun = response.event().state_change().to() == v1::JOB_STATE_RUNNING;
        return !begun && !context.interrupts->interrupted();
      }));
  return begun;
}

absl::Status Follow(CliContext& context, const LogsOptions& options, LogPrinter& printer) {
  context.interrupts->EndStreamsFirst();
  ASSIGN_OR_RETURN(v1::Job job, context.client->GetJob(options.job));
  // By its number, since "the latest" may be another one when a stream that broke is opened again.
  int32_t attempt = options.attempt > 0 ? options.attempt : std::max(1, job.attempt());
  for (;; ++attempt) {
    RETURN_IF_ERROR(ReadAttempt(context, options, attempt, printer));
    ASSIGN_OR_RETURN(job, context.client->GetJob(options.job));
    SayEnd(context, job, attempt, printer);
    if (options.attempt > 0 || context.interrupts->interrupted()) return absl::OkStatus();
    if (job.attempt() > attempt) continue;
    if (job.done()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const bool begun, WaitForNextAttempt(context, job));
    if (!begun) return absl::OkStatus();
  }
}

absl::Status RunLogs(CliContext& context, const LogsOptions& options) {
  LogPrinter printer(
      [](absl::string_view text) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
      },
      /*headers=*/options.stream.empty(), /*clean=*/isatty(STDOUT_FILENO) != 0);
  if (options.follow) {
    const absl::Status status = Follow(context, options, printer);
    return context.interrupts->interrupted() ? AlreadyPrinted(absl::StatusCode::kCancelled)
                                             : status;
  }
  RETURN_IF_ERROR(ReadAttempt(context, options, options.attempt, printer));
  ASSIGN_OR_RETURN(const v1::Job job, context.client->GetJob(options.job));
  const int32_t attempt = options.attempt > 0 ? options.attempt : job.attempt();
  if (printer.empty() && !context.json) {
    std::fprintf(stderr, "graft: attempt %d of %s has written no such log\n", attempt,
                 job.name().c_str());
  }
  SayEnd(context, job, attempt, printer);
  if (attempt > 1 && options.attempt == 0 && !context.json) {
    std::fprintf(stderr, "graft: of %d attempts this is the last; --attempt N shows another\n",
                 attempt);
  }
  return absl::OkStatus();
}

}  // namespace

void AddLogsCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<LogsOptions>();
  CLI::App* command = AddCommand(app, run, "logs",
                                 "What the engine and the worker wrote during a job's last attempt",
                                 "graft logs jobs/k3f9 -f", options, RunLogs);
  command->add_option("job", options->job, "Its name")->required();
  command->add_flag("-f,--follow", options->follow,
                    "Go on with what comes, over further attempts, until the job is done");
  command->add_option("--attempt", options->attempt, "Another attempt, from 1 [the last]")
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--stream", options->stream, "Only this one: engine or worker [both]")
      ->transform(OneOf({"engine", "worker"}));
}

}  // namespace graft
