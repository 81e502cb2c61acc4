#include "worker/engine/run/serve.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/delimited_stream.h"
#include "common/base/file.h"
#include "common/base/machine_memory.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "graft/engine/v1/engine.pb.h"
#include "worker/engine/run/build_info.h"
#include "worker/engine/run/command_queue.h"
#include "worker/engine/run/event_channel.h"
#include "worker/engine/run/job_control.h"
#include "worker/engine/run/job_run.h"
#include "worker/engine/run/proto_sink.h"
#include "worker/engine/run/pulse_reporter.h"
#include "worker/engine/run/result_files.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {
namespace {

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

// Of a text that is made while `job` waits: the fence and the end of the job hold for it too, and
// what is done for it keeps the job's pulse going.
class GuestStop : public StopToken {
 public:
  GuestStop(JobControl& job, JobControl& text) : job_(job), text_(text) {}

  absl::Status Poll() override {
    RETURN_IF_ERROR(text_.Check());
    job_ends_ = !job_.Check().ok();
    return job_ends_ ? absl::AbortedError("the job beside it ends") : absl::OkStatus();
  }
  bool job_ends() const { return job_ends_; }

 private:
  JobControl& job_;
  JobControl& text_;
  bool job_ends_ = false;
};

class Server {
 public:
  Server(int fd, std::unique_ptr<EngineSession> session, CommandQueue& queue)
      : channel_(fd, [] { _exit(kExitWorkerLost); }), session_(std::move(session)), queue_(queue) {}

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

  void Run(const CommandQueue::Work& work) {
    const std::string& job = work.command.job();
    JobControl& control = *work.control;
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
    control.SetBetween([&] { ServeGuest(control); });
    {
      const PulseReporter reporter(control, [&] { sink.RepeatProgress(); });
      *event.mutable_finished() = RunJob(work.command.run(), *session_, sink, control);
    }
    sink.RepeatProgress();  // The steps since the last one: the job tells how far it came.
    Finish(job, std::move(event));
    session_->FreeUnused();
  }

  void Measure(const CommandQueue::Work& work) {
    engine::v1::EngineEvent event = About(work.command.job());
    const absl::StatusOr<v1::JobMeasurement> measured =
        MeasureJob(work.command.measure(), *session_, *work.control);
    if (measured.ok()) {
      *event.mutable_measured() = *measured;
    } else {
      *event.mutable_finished() = FailedToRun(measured.status());
    }
    Finish(work.command.job(), std::move(event));
    session_->FreeUnused();
  }

  void Generate(CommandQueue::Work work) {
    engine::v1::EngineEvent last = MakeText(work, *work.control);
    Finish(work.command.job(), std::move(last));
  }

 private:
  // The first text that waits, while `job` waits at a place where that changes none of its numbers.
  void ServeGuest(JobControl& job) {
    std::optional<CommandQueue::Work> text = queue_.NextText();
    if (!text.has_value()) return;
    GuestStop stop(job, *text->control);
    engine::v1::EngineEvent last = MakeText(*text, stop);
    if (stop.job_ends()) return queue_.PutBack(*std::move(text));
    Finish(text->command.job(), std::move(last));
  }

  // Tells the text but for its last event, which is returned.
  engine::v1::EngineEvent MakeText(CommandQueue::Work& work, StopToken& stop) {
    const std::string& name = work.command.job();
    engine::v1::EngineEvent begins = About(name);  // So that it is known whose work this is.
    begins.mutable_progress();
    channel_.Send(begins);
    const int64_t told = work.told;
    int64_t tokens = 0;
    const auto on_text = [&](int32_t id, const std::string& text) {
      if (id < 0 ? text.empty() : ++tokens <= told) return;
      engine::v1::EngineEvent event = About(name);
      event.mutable_generated()->set_text(text);
      if (id >= 0) event.mutable_generated()->add_ids(id);
      work.told = tokens;
      channel_.Send(event);
    };
    absl::StatusOr<GenerateRequest> request = ToRequest(work.command.generate());
    // What begins anew gives the same tokens, as it computes with what it began with.
    if (request.ok()) request->keeps_threads = told > 0;
    const absl::StatusOr<GenerateOutcome> outcome =
        request.ok() ? session_->Generate(*request, on_text, stop) : request.status();
    engine::v1::EngineEvent event = About(name);
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
    return event;
  }

  void Finish(const std::string& job, engine::v1::EngineEvent last) {
    if (last.has_finished() && session_->IsBrokenBy(last.finished().status().code())) {
      last.mutable_finished()->set_engine_is_broken(true);
    }
    channel_.Send(last);
    queue_.Finish(job);
  }

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
  CommandQueue& queue_;
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
  CommandQueue queue;
  Server server(fd, *std::move(session), queue);
  server.SayHello();
  const std::string name =
      absl::StrCat("graft-engine ", kVersion, " on ", options.device, ", process ", getpid(), "\n");
  (void)!write(STDERR_FILENO, name.data(), name.size());
  std::thread reader([&] { ReadCommands(fd, queue); });
  pthread_setname_np(reader.native_handle(), "commands");
  while (std::optional<CommandQueue::Work> work = queue.Next()) {
    const engine::v1::EngineCommand& command = work->command;
    if (!command.log_file().empty() && !GoesTo(STDERR_FILENO, command.log_file())) {
      AppendWordsTo(command.log_file());
      (void)!write(STDERR_FILENO, name.data(), name.size());
    }
    if (command.has_run()) {
      server.Run(*work);
    } else if (command.has_measure()) {
      server.Measure(*work);
    } else {
      server.Generate(*std::move(work));
    }
  }
  reader.join();
  return 0;
}

}  // namespace graft
