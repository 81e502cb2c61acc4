#include "worker/agent/outbox.h"

#include <pthread.h>

#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

// Where the files are that nobody removes: below `held`, or in `directory` itself, where there is
// no room for the names or the file system has no hard links. NOT_FOUND: they are gone.
absl::StatusOr<std::string> HoldFiles(const std::string& directory,
                                      const std::vector<v1::Artifact>& files,
                                      const std::string& held) {
  if (!RemoveTree(held).ok() || !CreateDirectories(held).ok()) return directory;
  for (const v1::Artifact& file : files) {
    const absl::Status linked =
        LinkFile(JoinPath(directory, file.path()), JoinPath(held, file.path()));
    if (absl::IsNotFound(linked)) return linked;
    if (!linked.ok()) return directory;
  }
  return held;
}

}  // namespace

absl::Status UploadWhenThereIsRoom(ServerLink& link, StopSignal& stop, absl::string_view what,
                                   const std::function<absl::Status()>& upload,
                                   const std::function<absl::Status(v1::JobEvent warning)>& warn) {
  bool told = false;
  return link.Retry(stop, [&]() -> absl::Status {
    const absl::Status sent = upload();
    if (ReasonOf(sent) == kReasonDiskFull && !std::exchange(told, true)) {
      v1::JobEvent event;
      event.mutable_warning()->set_code(kReasonDiskFull);
      event.mutable_warning()->set_text(absl::StrCat(
          "the server has no room for ", what, ", which is sent when there is: ", sent.message()));
      RETURN_IF_ERROR(warn(std::move(event)));
    }
    return sent;
  });
}

Outbox::Outbox(ServerLink& link, std::string job, int64_t lease_epoch, const Stops& stops,
               std::function<void(const absl::Status&)> on_refused)
    : link_(link),
      job_(std::move(job)),
      lease_epoch_(lease_epoch),
      stop_(stops.all),
      checkpoints_(stops.checkpoints),
      on_refused_(std::move(on_refused)),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "outbox");
}

Outbox::~Outbox() {
  finished_.Stop();
  {
    MutexLock lock(mutex_);
    closed_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void Outbox::AddEvent(v1::JobEvent event) {
  MutexLock lock(mutex_);
  while (items_.size() >= kMaxQueuedEvents && failure_.ok() && !closed_) changed_.Wait(mutex_);
  if (!failure_.ok()) return;  // Nobody will hear it.
  items_.emplace_back(std::move(event));
  changed_.NotifyAll();
}

void Outbox::SetProgress(const engine::v1::Progress& progress) {
  MutexLock lock(mutex_);
  progress_ = progress;
  progress_changed_ = true;
  changed_.NotifyAll();
}

void Outbox::AddCheckpoint(std::string directory, const engine::v1::CheckpointWritten& checkpoint) {
  MutexLock lock(mutex_);
  items_.emplace_back(Checkpoint{std::move(directory), checkpoint});
  changed_.NotifyAll();
}

absl::StatusOr<int64_t> Outbox::Drain() {
  finished_.Stop();  // No more collecting: what is there goes out now.
  MutexLock lock(mutex_);
  while (failure_.ok() && (!items_.empty() || sending_)) changed_.Wait(mutex_);
  closed_ = true;
  changed_.NotifyAll();
  if (!failure_.ok()) return failure_;
  return batch_;
}

bool Outbox::WaitForWork() {
  MutexLock lock(mutex_);
  while (items_.empty() && !progress_changed_ && !closed_) changed_.Wait(mutex_);
  sending_ = !closed_;
  return sending_;
}

void Outbox::Run() {
  while (WaitForWork()) {
    finished_.WaitFor(kBatchDelay);
    const absl::Status status = SendFront();
    // Before anybody can see that nothing is being sent any more.
    if (!status.ok() && !stop_.stopped()) on_refused_(status);
    MutexLock lock(mutex_);
    sending_ = false;
    changed_.NotifyAll();
    if (status.ok()) continue;
    failure_ = status;
    items_.clear();
    return;
  }
}

absl::Status Outbox::SendFront() {
  std::vector<v1::JobEvent> events;
  std::optional<Checkpoint> checkpoint;
  {
    MutexLock lock(mutex_);
    size_t bytes = 0;
    while (!items_.empty() && events.size() < kMaxBatchEvents) {
      if (auto* event = std::get_if<v1::JobEvent>(&items_.front())) {
        bytes += event->ByteSizeLong();
        if (!events.empty() && bytes > kMaxBatchBytes) break;
        events.push_back(std::move(*event));
      } else {
        if (!events.empty()) break;
        checkpoint = std::move(std::get<Checkpoint>(items_.front()));
      }
      items_.pop_front();
      if (checkpoint.has_value()) break;
    }
  }
  if (checkpoint.has_value()) return SendCheckpoint(*checkpoint);
  return SendBatch(std::move(events));
}

absl::Status Outbox::SendBatch(std::vector<v1::JobEvent> events) {
  worker::v1::ReportEventsRequest request;
  request.set_job(job_);
  request.set_lease_epoch(lease_epoch_);
  request.set_batch(batch_ + 1);
  for (v1::JobEvent& event : events) *request.add_events() = std::move(event);
  {
    MutexLock lock(mutex_);
    request.set_step(progress_.step());
    request.set_total_steps(progress_.total_steps());
    request.set_epoch(progress_.epoch());
    request.set_eta_seconds(progress_.eta_seconds());
    request.set_stage(progress_.stage());
    request.set_stage_done(progress_.stage_done());
    request.set_stage_total(progress_.stage_total());
    progress_changed_ = false;
  }
  RETURN_IF_ERROR(link_.Retry(stop_, [&] { return link_.ReportEvents(request, stop_).status(); }));
  ++batch_;
  return absl::OkStatus();
}

absl::Status Outbox::SendCheckpoint(const Checkpoint& checkpoint) {
  const absl::Status sent =
      checkpoints_.stopped() ? absl::CancelledError("") : UploadAndCommit(checkpoint);
  const bool left_out = !sent.ok() && checkpoints_.stopped() && !stop_.stopped();
  if (!left_out && !absl::IsNotFound(sent)) return sent;
  LogJob(
      LogLevel::kInfo, job_,
      left_out ? "checkpoint left out: the job is cancelled" : "checkpoint gone before its upload",
      {{"step", absl::StrCat(checkpoint.written.step())}});
  return absl::OkStatus();
}

// NOT_FOUND: its files are gone.
absl::Status Outbox::UploadAndCommit(const Checkpoint& checkpoint) {
  const std::vector<v1::Artifact> files(checkpoint.written.files().begin(),
                                        checkpoint.written.files().end());
  // An upload that begins comes to its end, however many newer ones the engine saves meanwhile.
  const std::string held = absl::StrCat(checkpoint.directory, ".upload");
  const absl::Cleanup remove = [&] { RemoveTree(held).IgnoreError(); };
  ASSIGN_OR_RETURN(const std::string directory, HoldFiles(checkpoint.directory, files, held));
  RETURN_IF_ERROR(UploadWhenThereIsRoom(
      link_, checkpoints_, absl::StrCat("the checkpoint of step ", checkpoint.written.step()),
      [&] { return link_.UploadMissing(directory, files, checkpoints_); },
      [this](v1::JobEvent warning) { return SendBatch({std::move(warning)}); }));
  worker::v1::CommitCheckpointRequest request;
  request.set_job(job_);
  request.set_lease_epoch(lease_epoch_);
  request.set_step(checkpoint.written.step());
  *request.mutable_files() = checkpoint.written.files();
  if (checkpoint.written.has_execution()) {
    *request.mutable_execution() = checkpoint.written.execution();
  }
  return link_.Retry(checkpoints_, [&] { return link_.CommitCheckpoint(request, checkpoints_); });
}

}  // namespace graft
