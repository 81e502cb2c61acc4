#include "worker/agent/job_runner.h"

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_state.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"
#include "worker/agent/attempt_logs.h"
#include "worker/agent/outbox.h"

namespace graft {
namespace {

// The end of the engine's log, for the error of an engine that crashed.
constexpr int64_t kLogTailBytes = 2000;

worker::v1::FinishAttemptRequest Failure(const absl::Status& status,
                                         v1::FailureClass failure_class) {
  worker::v1::FinishAttemptRequest request;
  *request.mutable_failed()->mutable_error() = ToRpcStatus(status);
  request.mutable_failed()->set_failure_class(failure_class);
  return request;
}

worker::v1::FinishAttemptRequest FromFinished(const engine::v1::Finished& finished) {
  worker::v1::FinishAttemptRequest request;
  const absl::Status status = FromRpcStatus(finished.status());
  if (absl::IsCancelled(status)) {
    request.mutable_cancelled();
    return request;
  }
  if (!status.ok()) return Failure(status, finished.failure_class());
  auto& succeeded = *request.mutable_succeeded();
  *succeeded.mutable_result() = finished.result();
  *succeeded.mutable_output() = finished.output();
  *succeeded.mutable_artifacts() = finished.artifacts();
  succeeded.set_peft_snippet(finished.peft_snippet());
  return request;
}

// Of inputs that could not be laid out: as the lease names them they are wrong wherever it is
// tried, which is the server's fault or ours; everything else may go better on another machine or
// later.
v1::FailureClass ClassOfPreparation(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return v1::FAILURE_CLASS_INTERNAL;
    default:
      return v1::FAILURE_CLASS_INFRASTRUCTURE;
  }
}

absl::Status WorkerStopped() { return absl::UnavailableError("the worker was stopped"); }

worker::v1::FinishAttemptRequest FromCrash(const EngineProcess::End& end,
                                           const std::string& log_path) {
  if (end.out_of_memory) {
    return Failure(absl::ResourceExhaustedError(
                       "the kernel ended the engine: the machine is out of memory; a smaller "
                       "batch_size with more gradient_accumulation_steps needs less"),
                   v1::FAILURE_CLASS_OUT_OF_MEMORY);
  }
  const std::string tail = LogTail(log_path, kLogTailBytes);
  return Failure(
      absl::UnavailableError(absl::StrCat("the engine ended by ", end.text,
                                          tail.empty() ? "" : "; its last words:\n", tail)),
      v1::FAILURE_CLASS_INFRASTRUCTURE);
}

}  // namespace

JobRunner::JobRunner(Options options, ServerLink& link, InputCache& inputs,
                     EngineLauncher& launcher)
    : options_(std::move(options)), link_(link), inputs_(inputs), launcher_(launcher) {}

absl::StatusOr<engine::v1::Run> JobRunner::PrepareRun(const worker::v1::Lease& lease,
                                                      const std::string& work_directory,
                                                      StopSignal& stop) {
  engine::v1::Run run;
  *run.mutable_resolved_spec() = lease.resolved_spec();
  run.set_base_model_name(lease.base_model_name());
  run.set_display_name(lease.display_name());
  run.set_attempt(lease.attempt());
  run.set_work_directory(work_directory);
  run.set_cache_directory(options_.cache_directory);
  ASSIGN_OR_RETURN(*run.mutable_base_model_directory(), inputs_.Folder(lease.base_model(), stop));
  if (!lease.adapter().files().empty()) {
    ASSIGN_OR_RETURN(*run.mutable_adapter_directory(), inputs_.Folder(lease.adapter(), stop));
  }
  if (!lease.train_data().sha256().empty()) {
    ASSIGN_OR_RETURN(*run.mutable_train_file(), inputs_.File(lease.train_data(), stop));
  }
  if (!lease.validation_data().sha256().empty()) {
    ASSIGN_OR_RETURN(*run.mutable_validation_file(), inputs_.File(lease.validation_data(), stop));
  }
  if (!lease.checkpoint().files().empty()) {
    ASSIGN_OR_RETURN(*run.mutable_checkpoint_directory(), inputs_.Folder(lease.checkpoint(), stop));
  }
  RETURN_IF_ERROR(RemoveTree(work_directory));
  RETURN_IF_ERROR(CreateDirectories(work_directory));
  return run;
}

worker::v1::FinishAttemptRequest JobRunner::RunEngine(const engine::v1::Run& run, HeldLease& held,
                                                      Outbox& outbox, StopSignal& stop,
                                                      Outcome& outcome) {
  const std::string log_path = run.work_directory() + ".log";
  auto launched = launcher_.Launch(log_path);
  if (!launched.ok()) return Failure(launched.status(), v1::FAILURE_CLASS_INFRASTRUCTURE);
  EngineProcess& engine = **launched;
  engine::v1::EngineCommand command;
  command.set_job(held.job());
  *command.mutable_run() = run;
  held.Attach(&engine);
  const absl::Cleanup detach = [&] { held.Detach(); };
  engine.Send(command).IgnoreError();  // A dead engine shows itself in Read().
  for (;;) {
    const absl::StatusOr<engine::v1::EngineEvent> event = engine.Read();
    if (!event.ok()) {
      engine.Kill();
      const EngineProcess::End end = engine.WaitForEnd();
      outcome.engine_crashed = !held.abandoned() && !held.cancelled() && !stop.stopped();
      LogJob(outcome.engine_crashed ? LogLevel::kWarning : LogLevel::kInfo, held.job(),
             outcome.engine_crashed ? "the engine crashed" : "the engine was ended",
             {{"end", end.text}, {"out_of_memory", end.out_of_memory ? "true" : ""}});
      if (held.cancelled()) {
        worker::v1::FinishAttemptRequest request;
        request.mutable_cancelled();
        return request;
      }
      return FromCrash(end, log_path);
    }
    if (event->has_job_event()) outbox.AddEvent(event->job_event());
    if (event->has_progress()) outbox.SetProgress(event->progress());
    if (event->has_checkpoint()) {
      const int64_t step = event->checkpoint().step();
      outbox.AddCheckpoint(absl::StrCat(run.work_directory(), "/checkpoints/", step),
                           event->checkpoint());
    }
    if (event->has_finished()) return FromFinished(event->finished());
  }
}

absl::Status JobRunner::Finish(worker::v1::FinishAttemptRequest request,
                               const std::string& work_directory, HeldLease& held, Outbox& outbox,
                               StopSignal& stop) {
  ASSIGN_OR_RETURN(const int64_t last_batch, outbox.Drain());
  const auto& succeeded = request.succeeded();
  const std::vector<v1::Artifact> output(succeeded.output().begin(), succeeded.output().end());
  const std::vector<v1::Artifact> artifacts(succeeded.artifacts().begin(),
                                            succeeded.artifacts().end());
  absl::Status uploaded = link_.Retry(
      stop, [&] { return link_.UploadMissing(JoinPath(work_directory, "output"), output, stop); });
  if (uploaded.ok()) {
    uploaded = link_.Retry(stop, [&] {
      return link_.UploadMissing(JoinPath(work_directory, "artifacts"), artifacts, stop);
    });
  }
  if (absl::IsCancelled(uploaded)) return uploaded;
  if (!uploaded.ok()) {
    request = Failure(Annotate(uploaded, "the result could not be uploaded"),
                      v1::FAILURE_CLASS_INFRASTRUCTURE);
  }
  request.set_job(held.job());
  request.set_lease_epoch(held.lease_epoch());
  request.set_last_batch(last_batch);
  return link_.Retry(stop, [&] { return link_.FinishAttempt(request).status(); });
}

// One try: without it the job waits for its lease to expire. What the outbox still holds will be
// said again by the run that resumes.
void JobRunner::HandBack(const HeldLease& held, const absl::Status& why) {
  worker::v1::FinishAttemptRequest request = Failure(why, v1::FAILURE_CLASS_INFRASTRUCTURE);
  request.set_job(held.job());
  request.set_lease_epoch(held.lease_epoch());
  link_.FinishAttempt(request).IgnoreError();
}

JobRunner::Outcome JobRunner::Run(const worker::v1::Lease& lease, HeldLease& held,
                                  StopSignal& stop) {
  const std::string name =
      absl::StrCat(absl::StrReplaceAll(held.job(), {{"/", "-"}}), "-", lease.attempt());
  const std::string work_directory = JoinPath(options_.work_directory, name);
  const absl::Cleanup remove = [&] {
    RemoveTree(work_directory).IgnoreError();
    RemoveFile(work_directory + ".log").IgnoreError();
  };
  Outcome outcome;
  AttemptLogs logs(link_, held.job(), lease.attempt(), work_directory + ".log");
  LogJob(LogLevel::kInfo, held.job(), "leased",
         {{"attempt", absl::StrCat(lease.attempt())},
          {"lease_epoch", absl::StrCat(lease.lease_epoch())},
          {"from_step", absl::StrCat(lease.checkpoint_step())}});
  const absl::Cleanup over = [&] {
    LogJob(LogLevel::kInfo, held.job(), "attempt over", {{"result", outcome.result}});
  };
  Outbox outbox(link_, held, stop);
  worker::v1::FinishAttemptRequest request;
  const absl::StatusOr<engine::v1::Run> run = PrepareRun(lease, work_directory, stop);
  if (run.ok()) {
    request = RunEngine(*run, held, outbox, stop, outcome);
  } else {
    request = Failure(run.status(), ClassOfPreparation(run.status()));
  }
  if (stop.stopped()) {
    HandBack(held, WorkerStopped());
  } else if (const absl::Status refused = outbox.failure();
             !refused.ok() && !IsStaleLease(refused)) {
    HandBack(held, Annotate(refused, "the server refused what the engine reported"));
  }
  if (stop.stopped() || held.abandoned()) {
    outcome.result = "abandoned";
    return outcome;
  }
  outcome.result = request.has_succeeded()   ? "succeeded"
                   : request.has_cancelled() ? "cancelled"
                                             : "failed";
  if (request.has_failed()) {
    LogJob(LogLevel::kWarning, held.job(), "attempt failed",
           {{"attempt", absl::StrCat(lease.attempt())},
            {"class", FailureClassName(request.failed().failure_class())},
            {"error", request.failed().error().message()}});
  }
  // Whoever hears of the end finds its reason in the log.
  logs.Flush();
  const absl::Status finished = Finish(std::move(request), work_directory, held, outbox, stop);
  if (!finished.ok()) {
    outcome.result = "abandoned";
    LogJob(LogLevel::kWarning, held.job(), "the attempt's end was not accepted",
           {{"error", std::string(finished.message())}});
    if (!IsStaleLease(finished)) HandBack(held, stop.stopped() ? WorkerStopped() : finished);
  }
  return outcome;
}

}  // namespace graft
