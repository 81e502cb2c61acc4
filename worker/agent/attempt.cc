#include "worker/agent/attempt.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_state.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"
#include "worker/agent/attempt_end.h"
#include "worker/agent/attempt_logs.h"
#include "worker/agent/outbox.h"
#include "worker/agent/run_inputs.h"

namespace graft {
namespace {

// An engine looks at its fence at every micro-batch and decode step; the signal comes only when it
// should long have.
constexpr absl::Duration kSuspendAfter = absl::Seconds(2);

std::string DirectoryName(const worker::v1::Lease& lease) {
  return absl::StrCat(absl::StrReplaceAll(lease.job(), {{"/", "-"}}), "-", lease.attempt());
}

}  // namespace

Attempt::Attempt(Options options, const Parts& parts, worker::v1::Lease lease,
                 absl::Duration deadline)
    : options_(std::move(options)),
      parts_(parts),
      lease_(std::move(lease)),
      directory_(JoinPath(options_.work_directory, DirectoryName(lease_))),
      engine_log_(directory_ + ".log"),
      work_(parts.clock),
      checkpoints_(parts.clock),
      reports_(parts.clock),
      deadline_(deadline),
      pulse_(options_.least_hang_time, parts.clock.Boottime()) {
  // There is no engine yet.
  pulse_.SetWaiting(true, parts.clock.Boottime());
}

Attempt::Outcome Attempt::Run() {
  const absl::Cleanup remove = [this] {
    RemoveTree(directory_).IgnoreError();
    RemoveFile(engine_log_).IgnoreError();
  };
  AttemptLogs logs(parts_.link, job(), lease_.attempt(), engine_log_);
  LogJob(LogLevel::kInfo, job(), "leased",
         {{"attempt", absl::StrCat(lease_.attempt())},
          {"lease_epoch", absl::StrCat(lease_epoch())},
          {"from_step", absl::StrCat(lease_.checkpoint_step())}});
  Outbox outbox(parts_.link, job(), lease_epoch(), {reports_, checkpoints_},
                [this](const absl::Status& refused) {
                  // An engine that nobody hears trains for nobody.
                  End(IsStaleLease(refused) ? EndReason::kLeaseLost : EndReason::kRefused,
                      Annotate(refused, "the server refused what the engine reported"));
                });
  worker::v1::FinishAttemptRequest request = Work(outbox);
  LogEnd(request);
  // Whoever hears of the end finds its reason in the log.
  logs.Flush();
  const absl::Status told = Settle(std::move(request), outbox);
  if (!told.ok()) {
    LogJob(LogLevel::kWarning, job(), "the attempt's end was not accepted",
           {{"error", std::string(told.message())}});
  }
  LogJob(LogLevel::kInfo, job(), "attempt over", {{"result", outcome_.result}});
  return outcome_;
}

worker::v1::FinishAttemptRequest Attempt::Work(Outbox& outbox) {
  const absl::StatusOr<engine::v1::Run> run = PrepareRun();
  if (cancelled() && work_.stopped()) return CancelledEnd();
  if (!BeginEngine()) return EndOfPause();
  if (!run.ok()) return PreparationFailure(run.status());
  return RunEngine(*run, outbox);
}

absl::StatusOr<engine::v1::Run> Attempt::PrepareRun() {
  ASSIGN_OR_RETURN(engine::v1::Run run, LayOutInputs(lease_, parts_.inputs, work_));
  run.set_work_directory(directory_);
  run.set_cache_directory(options_.cache_directory);
  run.set_memory_budget_bytes(options_.memory_budget_bytes);
  if (!lease_.checkpoint().files().empty()) {
    ASSIGN_OR_RETURN(*run.mutable_checkpoint_directory(),
                     CheckpointFolder(InputCache::Hashing::kOnce));
  }
  RETURN_IF_ERROR(RemoveTree(directory_));
  RETURN_IF_ERROR(CreateDirectories(directory_));
  return run;
}

absl::StatusOr<std::string> Attempt::CheckpointFolder(InputCache::Hashing hashing) {
  const absl::StatusOr<std::string> folder =
      parts_.inputs.Folder(lease_.checkpoint(), work_, hashing);
  if (!absl::IsDataLoss(folder.status())) return folder;
  return CheckpointCorrupt(folder.status(), lease_.checkpoint_step());
}

worker::v1::FinishAttemptRequest Attempt::EndOfEngine(const engine::v1::Finished& finished) {
  if (finished.paused()) return EndOfPause();
  const bool damaged = absl::IsDataLoss(FromRpcStatus(finished.status()));
  if (damaged && !lease_.checkpoint().files().empty()) {
    // Perhaps the checkpoint, which was sound when it was laid out: a copy of ours is mended for
    // the next attempt, and one that is corrupt in the server's store is dropped there.
    const absl::Status again = CheckpointFolder(InputCache::Hashing::kAgain).status();
    if (absl::IsDataLoss(again)) return PreparationFailure(again);
  }
  return EndOf(finished);
}

worker::v1::FinishAttemptRequest Attempt::RunEngine(const engine::v1::Run& run, Outbox& outbox) {
  EnginePool::Borrower borrower;
  // A job's attempts are told apart: a command that is late must not meet the next one.
  borrower.subject = absl::StrCat(job(), "@", lease_epoch());
  heard_ = false;
  borrower.base = lease_.base_model().sha256();
  borrower.log_path = engine_log_;
  auto borrowed = parts_.engines.Borrow(borrower);
  // No job can run here.
  if (!borrowed.ok()) return ReturnedEnd(borrowed.status(), /*worker_fault=*/true);
  EngineLoan& engine = **borrowed;
  engine::v1::EngineCommand command;
  command.set_log_file(engine_log_);
  *command.mutable_run() = run;
  engine.Send(command).IgnoreError();  // A dead engine shows itself when it is read.
  Attach(&engine);
  const absl::StatusOr<engine::v1::Finished> finished = ReadEngine(engine, outbox);
  const bool untouched = Detach();
  if (!finished.ok()) {
    // It died while it was idle, a moment before it was borrowed: another one is.
    const bool had_ended = !heard_ && engine.was_idle() && ended() == EndReason::kNone;
    if (!had_ended || cancelled()) return EndOfCrash(engine, finished.status());
    borrowed->reset();  // Texts must not be brought to it.
    return RunEngine(run, outbox);
  }
  if (finished->engine_is_broken() && engine.WasEndedByText() && !cancelled()) {
    engine.Kill();
    return BystanderEnd(engine.WaitForEnd());
  }
  if (untouched && LeavesEngineSound(*finished)) engine.GiveBack();
  return EndOfEngine(*finished);
}

worker::v1::FinishAttemptRequest Attempt::EndOfCrash(EngineLoan& engine, const absl::Status& read) {
  // What said something that is no event may live on.
  const bool garbled = !absl::IsOutOfRange(read);
  if (garbled) engine.Kill();
  const EngineProcess::End end = engine.WaitForEnd();
  outcome_.engine_crashed = ended() == EndReason::kNone && !cancelled();
  LogJob(outcome_.engine_crashed ? LogLevel::kWarning : LogLevel::kInfo, job(),
         outcome_.engine_crashed ? "the engine crashed" : "the engine was ended",
         {{"end", end.text}, {"out_of_memory", end.out_of_memory ? "true" : ""}});
  if (cancelled()) return CancelledEnd();
  if (engine.WasEndedByText()) return BystanderEnd(end);
  if (garbled) {
    return FailureOf(
        absl::UnavailableError(absl::StrCat("what the engine said cannot be read: ", read.message(),
                                            "; it ended by ", end.text)),
        v1::FAILURE_CLASS_INFRASTRUCTURE, "garbled");
  }
  return CrashOf(end, engine_log_);
}

absl::StatusOr<engine::v1::Finished> Attempt::ReadEngine(EngineLoan& engine, Outbox& outbox) {
  for (;;) {
    SetReading(true);
    ASSIGN_OR_RETURN(engine::v1::EngineEvent event, engine.Read());
    heard_ = true;
    Observe(event);
    if (event.has_finished()) return std::move(*event.mutable_finished());
    SetReading(false);
    Pass(event, outbox);
  }
}

void Attempt::Pass(const engine::v1::EngineEvent& event, Outbox& outbox) {
  if (event.has_job_event()) outbox.AddEvent(event.job_event());
  if (event.has_progress()) outbox.SetProgress(event.progress());
  if (event.has_checkpoint()) {
    outbox.AddCheckpoint(absl::StrCat(directory_, "/checkpoints/", event.checkpoint().step()),
                         event.checkpoint());
  }
}

absl::Status Attempt::Settle(worker::v1::FinishAttemptRequest request, Outbox& outbox) {
  const absl::Status told = TellEnd(request, outbox);
  if (told.ok()) {
    outcome_.result = ResultOf(request);
    return told;
  }
  switch (ended()) {
    case EndReason::kNone:
      outcome_.result = "abandoned";
      if (!IsStaleLease(told)) HandBack(FailureOf(told, v1::FAILURE_CLASS_INFRASTRUCTURE));
      return told;
    case EndReason::kLeaseLost:
      outcome_.result = "abandoned";
      return told;
    case EndReason::kWorkerStops:
      outcome_.result = "returned";
      HandBack(ReturnedEnd(why(), /*worker_fault=*/false));
      break;
    case EndReason::kHung:
      outcome_.result = "failed";
      HandBack(FailureOf(why(), v1::FAILURE_CLASS_INFRASTRUCTURE, "hung"));
      break;
    case EndReason::kRefused:
      outcome_.result = "failed";
      HandBack(FailureOf(why(), v1::FAILURE_CLASS_INFRASTRUCTURE));
      break;
  }
  return absl::OkStatus();
}

absl::Status Attempt::TellEnd(worker::v1::FinishAttemptRequest& request, Outbox& outbox) {
  if (ended() != EndReason::kNone) return why();
  if (request.has_succeeded()) {
    const absl::Status uploaded = UploadResult(request.succeeded(), outbox);
    if (!uploaded.ok() && ended() != EndReason::kNone) return why();
    if (!uploaded.ok()) {
      request = cancelled() ? CancelledEnd()
                            : FailureOf(Annotate(uploaded, "the result could not be uploaded"),
                                        v1::FAILURE_CLASS_INFRASTRUCTURE);
    }
  }
  ASSIGN_OR_RETURN(const int64_t last_batch, outbox.Drain());
  request.set_job(job());
  request.set_lease_epoch(lease_epoch());
  request.set_last_batch(last_batch);
  return parts_.link.Retry(reports_,
                           [&] { return parts_.link.FinishAttempt(request, reports_).status(); });
}

absl::Status Attempt::UploadResult(const worker::v1::FinishAttemptRequest::Succeeded& succeeded,
                                   Outbox& outbox) {
  const std::vector<v1::Artifact> output(succeeded.output().begin(), succeeded.output().end());
  const std::vector<v1::Artifact> artifacts(succeeded.artifacts().begin(),
                                            succeeded.artifacts().end());
  return UploadWhenThereIsRoom(
      parts_.link, work_, "the result",
      [&] {
        RETURN_IF_ERROR(parts_.link.UploadMissing(JoinPath(directory_, "output"), output, work_));
        return parts_.link.UploadMissing(JoinPath(directory_, "artifacts"), artifacts, work_);
      },
      [&](v1::JobEvent warning) {
        outbox.AddEvent(std::move(warning));
        return absl::OkStatus();
      });
}

void Attempt::HandBack(worker::v1::FinishAttemptRequest request) {
  request.set_job(job());
  request.set_lease_epoch(lease_epoch());
  parts_.link.HandBack(std::move(request)).IgnoreError();
}

void Attempt::LogEnd(const worker::v1::FinishAttemptRequest& request) {
  const absl::Status from_outside = why();
  if (ended() != EndReason::kNone) {
    LogJob(LogLevel::kWarning, job(), "attempt ended",
           {{"attempt", absl::StrCat(lease_.attempt())},
            {"error", std::string(from_outside.message())}});
  } else if (request.has_failed()) {
    LogJob(LogLevel::kWarning, job(), "attempt failed",
           {{"attempt", absl::StrCat(lease_.attempt())},
            {"class", FailureClassName(request.failed().failure_class())},
            {"error", request.failed().error().message()}});
  } else if (request.has_returned()) {
    LogJob(LogLevel::kWarning, job(), "job handed back",
           {{"attempt", absl::StrCat(lease_.attempt())},
            {"error", request.returned().reason().message()}});
  }
}

void Attempt::Attach(EngineLoan* engine) {
  MutexLock lock(mutex_);
  engine_ = engine;
  suspended_ = killed_ = false;  // What an earlier one was.
  SendFence();
  if (wanted_checkpoint_ > 0) SendCheckpointRequest();
  if (asked_to_pause()) SendPause();
  if (cancelled_) SendCancel();
  if (ended_ != EndReason::kNone) KillEngine();
}

bool Attempt::Detach() {
  MutexLock lock(mutex_);
  engine_ = nullptr;
  // From here on there is no engine that could heed it.
  if (cancelled_) work_.Stop();
  return !suspended_ && !killed_;
}

void Attempt::KillEngine() {
  if (engine_ == nullptr) return;
  engine_->Kill();
  killed_ = true;
}

void Attempt::Renew(absl::Duration deadline) {
  MutexLock lock(mutex_);
  UpdateWaiting(parts_.clock.Boottime());
  deadline_ = std::max(deadline_, deadline);
  UpdateWaiting(parts_.clock.Boottime());
  if (engine_ == nullptr) return;
  SendFence();
  if (suspended_) engine_->Suspend(false);
  suspended_ = false;
}

void Attempt::Cancel() {
  MutexLock lock(mutex_);
  if (std::exchange(cancelled_, true)) return;
  kill_at_ = parts_.clock.Boottime() + options_.cancel_patience;
  if (engine_ != nullptr) {
    SendCancel();
  } else {
    work_.Stop();
  }
}

void Attempt::Pause() {
  MutexLock lock(mutex_);
  AskToPause(paused_);
}

void Attempt::SaveAndCancel() {
  MutexLock lock(mutex_);
  AskToPause(cancel_saves_);
}

void Attempt::Leave(absl::Duration patience) {
  MutexLock lock(mutex_);
  if (patience <= absl::ZeroDuration()) EndLocked(EndReason::kWorkerStops, WorkerStopped());
  leave_by_ = std::min(leave_by_, parts_.clock.Boottime() + patience);
  AskToPause(leaves_);
}

void Attempt::AskToPause(bool& reason) {
  const bool asked = asked_to_pause();
  reason = true;
  if (asked) return;
  if (engine_ != nullptr) {
    SendPause();
  } else if (!engine_began_) {
    work_.Stop();
  }
}

bool Attempt::BeginEngine() {
  MutexLock lock(mutex_);
  engine_began_ = !asked_to_pause();
  return engine_began_;
}

worker::v1::FinishAttemptRequest Attempt::EndOfPause() const {
  MutexLock lock(mutex_);
  if (cancel_saves_) return CancelledEnd();
  // Where nobody asked it has come to its lease's pause_at_step.
  return leaves_ && !paused_ ? ReturnedEnd(WorkerStopped(), /*worker_fault=*/false) : PausedEnd();
}

void Attempt::WantCheckpoint(int64_t step) {
  MutexLock lock(mutex_);
  const bool is_new = step > 0 && step != wanted_checkpoint_;
  wanted_checkpoint_ = step;
  if (is_new && engine_ != nullptr) SendCheckpointRequest();
}

void Attempt::End(EndReason reason, absl::Status why) {
  MutexLock lock(mutex_);
  EndLocked(reason, std::move(why));
}

void Attempt::EndLocked(EndReason reason, absl::Status why) {
  if (ended_ >= reason) return;
  ended_ = reason;
  why_ = std::move(why);
  KillEngine();
  work_.Stop();
  checkpoints_.Stop();
  reports_.Stop();
}

void Attempt::Enforce() {
  const absl::Duration now = parts_.clock.Boottime();
  MutexLock lock(mutex_);
  if (now >= kill_at_) checkpoints_.Stop();
  if (now >= leave_by_) EndLocked(EndReason::kWorkerStops, WorkerStopped());
  if (engine_ == nullptr) return;
  if (now >= kill_at_) KillEngine();
  if (now >= deadline_ + kSuspendAfter && !suspended_) {
    engine_->Suspend(true);
    suspended_ = true;
  }
  UpdateWaiting(now);
  if (now >= pulse_.HangsAt()) {
    EndLocked(EndReason::kHung,
              absl::UnavailableError(
                  absl::StrCat("the engine hangs: for ", absl::ToInt64Seconds(pulse_.StillFor(now)),
                               " s it has done nothing in stage ", StageName(stage_))));
  }
}

void Attempt::SetReading(bool reading) {
  MutexLock lock(mutex_);
  reading_ = reading;
  UpdateWaiting(parts_.clock.Boottime());
}

void Attempt::Observe(const engine::v1::EngineEvent& event) {
  MutexLock lock(mutex_);
  const absl::Duration now = parts_.clock.Boottime();
  if (event.has_progress()) {
    const engine::v1::Progress& progress = event.progress();
    stage_ = progress.stage();
    engine_waits_ = progress.waiting();
    // One that says the same again lives, but does nothing.
    const bool still = progress.pulse() != 0 && progress.pulse() == last_pulse_;
    last_pulse_ = progress.pulse();
    if (!still) pulse_.Beat(stage_, now);
  } else {
    pulse_.Beat(stage_, now);
  }
  UpdateWaiting(now);
}

void Attempt::UpdateWaiting(absl::Duration now) {
  // Since the fence, however late it is seen: the machine may have slept.
  if (now >= deadline_) return pulse_.SetWaiting(true, deadline_);
  pulse_.SetWaiting(!reading_ || engine_waits_, now);
}

Attempt::EndReason Attempt::ended() const {
  MutexLock lock(mutex_);
  return ended_;
}

absl::Status Attempt::why() const {
  MutexLock lock(mutex_);
  return why_;
}

bool Attempt::cancelled() const {
  MutexLock lock(mutex_);
  return cancelled_;
}

// A send that fails means that the engine is gone or reads nothing: the former its reader learns by
// itself, the latter ends it as hung.
void Attempt::SendFence() {
  engine::v1::EngineCommand command;
  command.mutable_fence()->set_boottime_ns(absl::ToInt64Nanoseconds(deadline_));
  engine_->Send(command).IgnoreError();
}

void Attempt::SendCancel() {
  engine::v1::EngineCommand command;
  command.mutable_cancel();
  engine_->Send(command).IgnoreError();
}

void Attempt::SendPause() {
  engine::v1::EngineCommand command;
  command.mutable_pause();
  engine_->Send(command).IgnoreError();
}

void Attempt::SendCheckpointRequest() {
  engine::v1::EngineCommand command;
  command.mutable_save_checkpoint()->set_step(wanted_checkpoint_);
  engine_->Send(command).IgnoreError();
}

}  // namespace graft
