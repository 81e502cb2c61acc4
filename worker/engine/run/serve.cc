#include "worker/engine/run/serve.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/delimited_stream.h"
#include "common/base/file.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "graft/engine/v1/engine.pb.h"
#include "worker/engine/run/build_info.h"
#include "worker/engine/run/event_channel.h"
#include "worker/engine/run/job_control.h"
#include "worker/engine/run/job_run.h"
#include "worker/engine/run/machine_memory.h"
#include "worker/engine/run/proto_sink.h"
#include "worker/engine/run/pulse_reporter.h"
#include "worker/engine/run/result_files.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {
namespace {

constexpr size_t kMaxWaitingCommands = 64;
constexpr size_t kMaxControls = 256;  // Jobs that commands have named and that have not finished.

// The commands of the peer, sorted: what acts at once, and what waits for the main thread.
class CommandQueue {
 public:
  struct Work {
    engine::v1::EngineCommand command;
    std::shared_ptr<JobControl> control;
  };

  void Handle(engine::v1::EngineCommand command) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    std::shared_ptr<JobControl> control;
    switch (command.command_case()) {
      case engine::v1::EngineCommand::kCancel:
        ControlOf(command.job())->Cancel();
        return;
      case engine::v1::EngineCommand::kFence:
        ControlOf(command.job())->SetFence(command.fence().boottime_ns());
        return;
      case engine::v1::EngineCommand::kRun:
      case engine::v1::EngineCommand::kGenerate:
        control = ControlOf(command.job());
        break;
      case engine::v1::EngineCommand::kShutdown:
        for (auto& [job, control] : controls_) control->Cancel();
        break;
      case engine::v1::EngineCommand::COMMAND_NOT_SET:
        return;
    }
    // The reader waits rather than drop a command; the worker sends no more than a few.
    while (waiting_.size() >= kMaxWaitingCommands) changed_.Wait(mutex_);
    waiting_.push_back({std::move(command), std::move(control)});
    changed_.NotifyAll();
  }

  // Nothing after Shutdown.
  std::optional<Work> Next() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    while (waiting_.empty()) changed_.Wait(mutex_);
    Work work = std::move(waiting_.front());
    waiting_.pop_front();
    changed_.NotifyAll();
    if (work.command.has_shutdown()) return std::nullopt;
    return work;
  }

  void Finish(const std::string& job) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    controls_.erase(job);
  }

 private:
  // Cancel and Fence may overtake the Run that they are about, so every name gets a control.
  std::shared_ptr<JobControl> ControlOf(const std::string& job)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (controls_.size() >= kMaxControls) {  // Left by commands about jobs that had ended.
      for (auto it = controls_.begin(); it != controls_.end();) {
        it = it->second.use_count() == 1 ? controls_.erase(it) : std::next(it);
      }
    }
    std::shared_ptr<JobControl>& control = controls_[job];
    if (control == nullptr) control = std::make_shared<JobControl>();
    return control;
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<Work> waiting_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<JobControl>> controls_ ABSL_GUARDED_BY(mutex_);
};

// Reads until the process ends: it has nothing else to wait for, and end of file ends the process.
void ReadCommands(int fd, CommandQueue& queue) {
  DelimitedReader reader(fd);
  for (;;) {
    const absl::StatusOr<std::string> message = reader.Read();
    if (!message.ok()) _exit(kExitWorkerLost);
    engine::v1::EngineCommand command;
    if (!command.ParseFromString(*message)) _exit(kExitWorkerLost);
    const bool last = command.has_shutdown();
    queue.Handle(std::move(command));
    if (last) return;
  }
}

// Standard output and error go to the end of this file from here on. A file that cannot be opened
// changes nothing: words are no work.
void AppendWordsTo(const std::string& path) {
  const absl::StatusOr<UniqueFd> file = OpenFile(path, O_WRONLY | O_CREAT | O_APPEND);
  if (!file.ok()) return;
  std::fflush(nullptr);
  dup2(file->get(), STDOUT_FILENO);
  dup2(file->get(), STDERR_FILENO);
}

bool GoesTo(int fd, const std::string& path) {
  struct stat now, named;
  return fstat(fd, &now) == 0 && stat(path.c_str(), &named) == 0 && now.st_dev == named.st_dev &&
         now.st_ino == named.st_ino;
}

class Server {
 public:
  Server(int fd, std::unique_ptr<EngineSession> session)
      : channel_(fd, [] { _exit(kExitWorkerLost); }), session_(std::move(session)) {}

  void SayHello() {
    engine::v1::EngineEvent event;
    engine::v1::Hello& hello = *event.mutable_hello();
    hello.set_version(kVersion);
    for (const std::string& device : EngineSession::Devices()) hello.add_devices(device);
    hello.set_bf16_native(EngineSession::HasNativeBf16());
    hello.set_device(session_->DeviceModel());
    const bool on_cpu = hello.device() == "cpu";
    if (on_cpu) hello.set_cpu_capability(EngineSession::CpuCapability());
    hello.set_libtorch(kLibTorchVersion);
    hello.set_code_sha256(kCodeSha256);
    hello.set_memory_bytes(on_cpu ? MachineMemoryBytes() : session_->GpuMemoryBytes());
    channel_.Send(event);
  }

  void Run(const std::string& job, const engine::v1::Run& run, JobControl& control) {
    ProtoEventSink sink({
        [&](v1::JobEvent job_event) {
          engine::v1::EngineEvent event = About(job);
          *event.mutable_job_event() = std::move(job_event);
          channel_.Send(event);
        },
        [&](engine::v1::Progress progress) {
          engine::v1::EngineEvent event = About(job);
          *event.mutable_progress() = std::move(progress);
          event.mutable_progress()->set_pulse(control.pulse().count());
          event.mutable_progress()->set_waiting(control.waiting());
          channel_.Send(event);
        },
        [&](engine::v1::CheckpointWritten checkpoint) {
          engine::v1::EngineEvent event = About(job);
          *event.mutable_checkpoint() = std::move(checkpoint);
          channel_.Send(event);
        },
    });
    engine::v1::EngineEvent event = About(job);
    {
      const PulseReporter reporter(control, [&] { sink.RepeatProgress(); });
      *event.mutable_finished() = RunJob(run, *session_, sink, control);
    }
    channel_.Send(event);
  }

  void Generate(const std::string& job, const engine::v1::Generate& command, StopToken& stop) {
    const absl::StatusOr<GenerateRequest> request = ToRequest(command);
    const auto on_text = [&](int32_t id, const std::string& text) {
      if (id < 0 && text.empty()) return;
      engine::v1::EngineEvent event = About(job);
      event.mutable_generated()->set_text(text);
      if (id >= 0) event.mutable_generated()->add_ids(id);
      channel_.Send(event);
    };
    const absl::StatusOr<GenerateOutcome> outcome =
        request.ok() ? session_->Generate(*request, on_text, stop) : request.status();
    engine::v1::EngineEvent event = About(job);
    if (outcome.ok()) {
      v1::GenerateResponse& last = *event.mutable_generated();
      last.set_done(true);
      last.set_finish_reason(outcome->ended ? "end_of_text" : "max_new_tokens");
      last.set_prompt_tokens(static_cast<int32_t>(outcome->prompt_tokens));
      last.set_new_tokens(static_cast<int32_t>(outcome->new_tokens));
      last.set_prompt_tokens_cut(static_cast<int32_t>(outcome->prompt_tokens_cut));
    } else {
      *event.mutable_finished() = FailedToRun(outcome.status());
    }
    channel_.Send(event);
  }

 private:
  static engine::v1::EngineEvent About(const std::string& job) {
    engine::v1::EngineEvent event;
    event.set_job(job);
    return event;
  }

  static absl::StatusOr<GenerateRequest> ToRequest(const engine::v1::Generate& command) {
    GenerateRequest request;
    request.base_model = {command.base_model_directory(), command.base_model_sha256()};
    request.adapter_directory = command.adapter_directory();
    request.prompt = command.request().prompt();
    if (command.request().apply_template()) {
      ASSIGN_OR_RETURN(request.prompt_template, PromptTemplateOf(command.adapter_directory()));
    }
    if (command.request().has_max_new_tokens()) {
      request.max_new_tokens = command.request().max_new_tokens();
    }
    request.generation = ToGenerationConfig(command.request().generation());
    return request;
  }

  EventChannel channel_;
  const std::unique_ptr<EngineSession> session_;
};

}  // namespace

int Serve(int fd, const SessionOptions& options) {
  absl::StatusOr<std::unique_ptr<EngineSession>> session = EngineSession::Create(options);
  if (!session.ok()) {
    // No Hello: the worker finds this in the engine's log.
    const std::string text = absl::StrCat("graft-engine: ", session.status().message(), "\n");
    (void)!write(STDERR_FILENO, text.data(), text.size());
    return 1;
  }
  Server server(fd, *std::move(session));
  server.SayHello();
  const std::string name =
      absl::StrCat("graft-engine ", kVersion, " on ", options.device, ", process ", getpid(), "\n");
  (void)!write(STDERR_FILENO, name.data(), name.size());
  CommandQueue queue;
  std::thread reader([&] { ReadCommands(fd, queue); });
  pthread_setname_np(reader.native_handle(), "commands");
  while (std::optional<CommandQueue::Work> work = queue.Next()) {
    const engine::v1::EngineCommand& command = work->command;
    if (!command.log_file().empty() && !GoesTo(STDERR_FILENO, command.log_file())) {
      AppendWordsTo(command.log_file());
      (void)!write(STDERR_FILENO, name.data(), name.size());
    }
    if (command.has_run()) server.Run(command.job(), command.run(), *work->control);
    if (command.has_generate()) server.Generate(command.job(), command.generate(), *work->control);
    queue.Finish(command.job());
  }
  reader.join();
  return 0;
}

}  // namespace graft
