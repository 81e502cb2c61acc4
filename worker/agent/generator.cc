#include "worker/agent/generator.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"

namespace graft {

absl::Status GenerationQueue::Push(worker::v1::Command::Generate request) {
  MutexLock lock(mutex_);
  if (waiting_.size() >= kMaxWaiting) {
    return absl::ResourceExhaustedError("too many texts wait on this worker");
  }
  waiting_.push_back(std::move(request));
  return absl::OkStatus();
}

std::optional<worker::v1::Command::Generate> GenerationQueue::Pop() {
  MutexLock lock(mutex_);
  if (waiting_.empty()) return std::nullopt;
  worker::v1::Command::Generate request = std::move(waiting_.front());
  waiting_.pop_front();
  return request;
}

bool GenerationQueue::Remove(const std::string& id) {
  MutexLock lock(mutex_);
  const auto end = std::remove_if(waiting_.begin(), waiting_.end(),
                                  [&](const auto& request) { return request.id() == id; });
  const bool found = end != waiting_.end();
  waiting_.erase(end, waiting_.end());
  return found;
}

namespace {

// After any other failure the engine is not trusted with the next text: an error of CUDA stays with
// its process, and after one of memory it holds what the next one needs.
bool IsTheRequests(const google::rpc::Status& status) {
  const auto code = static_cast<absl::StatusCode>(status.code());
  return code == absl::StatusCode::kOk || code == absl::StatusCode::kInvalidArgument ||
         code == absl::StatusCode::kCancelled;
}

}  // namespace

Generator::Generator(std::string log_path, ServerLink& link, InputCache& inputs,
                     EngineLauncher& launcher)
    : log_path_(std::move(log_path)), link_(link), inputs_(inputs), launcher_(launcher) {}

absl::Status Generator::Begin(const worker::v1::Command::Generate& request, StopSignal& stop) {
  engine::v1::EngineCommand command;
  command.set_job(request.id());
  *command.mutable_generate()->mutable_request() = request.request();
  ASSIGN_OR_RETURN(*command.mutable_generate()->mutable_base_model_directory(),
                   inputs_.Folder(request.base_model(), stop));
  if (!request.adapter().files().empty()) {
    ASSIGN_OR_RETURN(*command.mutable_generate()->mutable_adapter_directory(),
                     inputs_.Folder(request.adapter(), stop));
  }
  MutexLock lock(mutex_);
  if (engine_ == nullptr) {
    ASSIGN_OR_RETURN(engine_, launcher_.Launch(log_path_));
  }
  current_id_ = request.id();
  return engine_->Send(command);
}

void Generator::Serve(const worker::v1::Command::Generate& request, StopSignal& stop) {
  const absl::Status begun = Begin(request, stop);
  bool over = false;
  const absl::Status reported =
      link_.ReportGeneration(request.id(), [&](worker::v1::ReportGenerationRequest& message) {
        if (over) return false;
        if (begun.ok()) {
          over = Next(message);
        } else {
          *message.mutable_error() = ToRpcStatus(begun);
          over = true;
        }
        return true;
      });
  // The user went away in the middle: the engine must not go on talking into the next request.
  if (!over) Release();
  if (!begun.ok() || !reported.ok()) {
    Release();
    Log(LogLevel::kWarning, "generation failed",
        {{"id", request.id()},
         {"error", std::string(begun.ok() ? reported.message() : begun.message())}});
  }
  MutexLock lock(mutex_);
  current_id_.clear();
}

bool Generator::Next(worker::v1::ReportGenerationRequest& message) {
  EngineProcess* engine;
  std::string id;
  {
    MutexLock lock(mutex_);
    engine = engine_.get();
    id = current_id_;
  }
  for (;;) {
    const absl::StatusOr<engine::v1::EngineEvent> event = engine->Read();
    if (!event.ok()) {
      engine->Kill();
      const EngineProcess::End end = engine->WaitForEnd();
      Release();
      *message.mutable_error() =
          ToRpcStatus(absl::UnavailableError(absl::StrCat("the engine ended by ", end.text)));
      return true;
    }
    if (event->job() != id) continue;
    if (event->has_generated()) {
      *message.mutable_response() = event->generated();
      return event->generated().done();
    }
    if (event->has_finished()) {
      *message.mutable_error() = event->finished().status();
      if (!IsTheRequests(event->finished().status())) Release();
      return true;
    }
  }
}

void Generator::Release() {
  std::unique_ptr<EngineProcess> engine;
  MutexLock lock(mutex_);
  engine.swap(engine_);
}

void Generator::Cancel(const std::string& id) {
  MutexLock lock(mutex_);
  if (engine_ == nullptr || current_id_ != id) return;
  engine::v1::EngineCommand command;
  command.set_job(id);
  command.mutable_cancel();
  engine_->Send(command).IgnoreError();
}

void Generator::Interrupt() {
  MutexLock lock(mutex_);
  if (engine_ != nullptr) engine_->Kill();
}

}  // namespace graft
