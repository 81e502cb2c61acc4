#include "worker/agent/generator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
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
  return Pop([](const auto&) { return true; });
}

std::optional<worker::v1::Command::Generate> GenerationQueue::Pop(const Wanted& wanted) {
  MutexLock lock(mutex_);
  const auto first = std::find_if(waiting_.begin(), waiting_.end(), wanted);
  if (first == waiting_.end()) return std::nullopt;
  worker::v1::Command::Generate request = std::move(*first);
  waiting_.erase(first);
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

Generator::Generator(Place place, std::string log_path, ServerLink& link, InputCache& inputs,
                     EnginePool& engines)
    : place_(place),
      log_path_(std::move(log_path)),
      link_(link),
      inputs_(inputs),
      engines_(engines) {}

absl::StatusOr<std::unique_ptr<EngineLoan>> Generator::Begin(
    const worker::v1::Command::Generate& request, StopSignal& stop) {
  engine::v1::EngineCommand command;
  engine::v1::Generate& generate = *command.mutable_generate();
  *generate.mutable_request() = request.request();
  generate.set_base_model_sha256(request.base_model().sha256());
  ASSIGN_OR_RETURN(*generate.mutable_base_model_directory(),
                   inputs_.Folder(request.base_model(), stop));
  if (!request.adapter().files().empty()) {
    ASSIGN_OR_RETURN(*generate.mutable_adapter_directory(),
                     inputs_.Folder(request.adapter(), stop));
  }
  EnginePool::Borrower borrower;
  borrower.subject = request.id();
  borrower.is_text = true;
  borrower.base = request.base_model().sha256();
  borrower.log_path = log_path_;
  std::unique_ptr<EngineLoan> engine;
  if (place_ == Place::kGuest) {
    engine = engines_.Join(borrower);
    if (engine == nullptr) {
      return absl::UnavailableError("no job runs on this base model any more");
    }
  } else {
    ASSIGN_OR_RETURN(engine, engines_.Borrow(borrower));
  }
  // A guest's words stay with those of the job.
  if (!engine->is_guest()) command.set_log_file(log_path_);
  Attach(engine.get());
  engine->Send(command).IgnoreError();  // A dead engine shows itself when it is read.
  return engine;
}

void Generator::Serve(const worker::v1::Command::Generate& request, StopSignal& stop) {
  SetCurrent(request.id());
  const absl::StatusOr<std::unique_ptr<EngineLoan>> begun = Begin(request, stop);
  Answer answer = Answer::kMore;
  const absl::Status reported =
      link_.ReportGeneration(request.id(), [&](worker::v1::ReportGenerationRequest& message) {
        if (answer != Answer::kMore) return false;
        if (begun.ok()) {
          answer = Next(**begun, message);
        } else {
          *message.mutable_error() = ToRpcStatus(begun.status());
          answer = Answer::kBroken;
        }
        return true;
      });
  SetCurrent("");
  // Where the user went away in the middle the engine would go on: the loan's end stops it.
  if (answer == Answer::kLast) (*begun)->GiveBack();
  if (begun.ok() && reported.ok()) return;
  Log(LogLevel::kWarning, "generation failed",
      {{"id", request.id()},
       {"error", std::string(begun.ok() ? reported.message() : begun.status().message())}});
}

Generator::Answer Generator::Next(EngineLoan& engine,
                                  worker::v1::ReportGenerationRequest& message) {
  for (;;) {
    const absl::StatusOr<engine::v1::EngineEvent> event = engine.Read();
    if (!event.ok()) {
      engine.Kill();
      *message.mutable_error() = ToRpcStatus(
          absl::UnavailableError(absl::StrCat("the engine ended by ", engine.WaitForEnd().text)));
      return Answer::kBroken;
    }
    if (event->has_generated()) {
      *message.mutable_response() = event->generated();
      return event->generated().done() ? Answer::kLast : Answer::kMore;
    }
    if (event->has_finished()) {
      *message.mutable_error() = event->finished().status();
      if (event->finished().engine_is_broken()) engine.KillAsBroken();
      if (engine.is_guest()) return Answer::kLast;
      return IsTheRequests(event->finished().status()) ? Answer::kLast : Answer::kBroken;
    }
  }
}

void Generator::SetCurrent(const std::string& id) {
  MutexLock lock(mutex_);
  engine_ = nullptr;
  current_id_ = id;
  cancelled_ = false;
}

void Generator::Attach(EngineLoan* engine) {
  MutexLock lock(mutex_);
  engine_ = engine;
  if (cancelled_) SendCancel();
}

void Generator::Cancel(const std::string& id) {
  MutexLock lock(mutex_);
  if (current_id_ != id || std::exchange(cancelled_, true)) return;
  if (engine_ != nullptr) SendCancel();
}

void Generator::SendCancel() {
  engine::v1::EngineCommand command;
  command.mutable_cancel();
  engine_->Send(command).IgnoreError();
}

}  // namespace graft
