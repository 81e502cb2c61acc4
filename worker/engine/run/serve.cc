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
#include "common/base/version.h"
#include "graft/engine/v1/engine.pb.h"
#include "worker/engine/run/build_info.h"
#include "worker/engine/run/command_queue.h"
#include "worker/engine/run/event_channel.h"
#include "worker/engine/run/job_control.h"
#include "worker/engine/run/job_run.h"
#include "worker/engine/run/proto_sink.h"
#include "worker/engine/run/pulse_reporter.h"
#include "worker/engine/run/waiting_texts.h"

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

// Of texts that are made while `job` waits: the fence and the end of the job hold for them too, and
// what is done for them keeps the job's pulse going.
class GuestStop : public StopToken {
 public:
  explicit GuestStop(JobControl& job) : job_(job) {}
  absl::Status Poll() override { return job_.Check(); }

 private:
  JobControl& job_;
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
    control.SetBetween([&] { ServeGuests(control); });
    {
      const PulseReporter reporter(control, [&] { sink.RepeatProgress(); });
      *event.mutable_finished() = RunJob(work.command.run(), *session_, sink, control);
    }
    sink.RepeatProgress();  // The steps since the last one: the job tells how far it came.
    Finish(work.command, std::move(event));
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
    Finish(work.command, std::move(event));
    session_->FreeUnused();
  }

  void Generate(CommandQueue::Work work) {
    WaitingTexts texts(channel_, queue_, *session_);
    texts.BeginWith(std::move(work));
    NoStop stop;
    session_->GenerateTexts(texts, stop).IgnoreError();  // Nobody stops it but each text's own end.
  }

 private:
  // The texts that wait, while `job` waits at a place where that changes none of its numbers.
  void ServeGuests(JobControl& job) {
    WaitingTexts texts(channel_, queue_, *session_);
    texts.TakeThoseThatWait();
    if (texts.empty()) return;
    GuestStop stop(job);
    if (!session_->GenerateTexts(texts, stop).ok()) texts.PutBack();
  }

  void Finish(const engine::v1::EngineCommand& command, engine::v1::EngineEvent last) {
    if (last.has_finished() && session_->IsBrokenBy(last.finished().status().code())) {
      last.mutable_finished()->set_engine_is_broken(true);
    }
    channel_.Send(last);
    queue_.Finish(command);
  }

  static engine::v1::EngineEvent About(const std::string& job) {
    engine::v1::EngineEvent event;
    event.set_job(job);
    return event;
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
