#include "worker/engine/run/waiting_texts.h"

#include <optional>
#include <utility>

#include "common/base/status_macros.h"
#include "worker/engine/run/job_run.h"
#include "worker/engine/run/result_files.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {
namespace {

const char* NameOf(TextEnd end) {
  switch (end) {
    case TextEnd::kEndOfText:
      return "end_of_text";
    case TextEnd::kMaxNewTokens:
      return "max_new_tokens";
    case TextEnd::kStopString:
      return "stop_string";
  }
  return "";
}

absl::StatusOr<GenerateRequest> ToRequest(const CommandQueue::Work& work) {
  const engine::v1::Generate& command = work.command.generate();
  const v1::GenerateRequest& wanted = command.request();
  GenerateRequest request;
  request.base_model = {command.base_model_directory(), command.base_model_sha256()};
  request.adapter_directory = command.adapter_directory();
  request.prompt = wanted.prompt();
  if (wanted.apply_template()) {
    ASSIGN_OR_RETURN(request.prompt_template, PromptTemplateOf(command.adapter_directory()));
  }
  if (wanted.has_max_new_tokens()) request.max_new_tokens = wanted.max_new_tokens();
  request.generation = ToGenerationConfig(wanted.generation());
  request.stop_strings = {wanted.stop_strings().begin(), wanted.stop_strings().end()};
  request.log_probabilities = wanted.log_probabilities();
  request.sequence = command.sequence();
  request.begun = work.told;
  return request;
}

}  // namespace

class WaitingTexts::Task : public TextTask {
 public:
  Task(WaitingTexts& texts, CommandQueue::Work work) : texts_(texts), work_(std::move(work)) {}

  // So that it is known whose work this is. False: it has ended, as its command is no good.
  bool Begin() {
    engine::v1::EngineEvent begins = About();
    begins.mutable_progress();
    texts_.channel_.Send(begins);
    absl::StatusOr<GenerateRequest> request = ToRequest(work_);
    if (request.ok()) {
      request_ = *std::move(request);
    } else {
      OnEnd(request.status());
    }
    return !ended_;
  }

  const GenerateRequest& request() const override { return request_; }
  absl::Status Check() override { return work_.control->Check(); }

  void OnText(const TextPiece& piece) override {
    engine::v1::EngineEvent event = About();
    v1::GenerateResponse& response = *event.mutable_generated();
    response.set_text(piece.text);
    response.set_sequence(work_.command.generate().sequence());
    if (piece.id >= 0) {
      response.add_ids(piece.id);
      work_.told.push_back(piece.id);
      if (request_.log_probabilities) response.add_log_probabilities(piece.log_probability);
    }
    texts_.channel_.Send(event);
  }

  void OnEnd(const absl::StatusOr<GenerateOutcome>& outcome) override {
    engine::v1::EngineEvent event = About();
    if (outcome.ok()) {
      v1::GenerateResponse& last = *event.mutable_generated();
      last.set_done(true);
      last.set_finish_reason(NameOf(outcome->end));
      last.set_prompt_tokens(static_cast<int32_t>(outcome->prompt_tokens));
      last.set_new_tokens(static_cast<int32_t>(outcome->new_tokens));
      last.set_prompt_tokens_cut(static_cast<int32_t>(outcome->prompt_tokens_cut));
      last.set_sequence(work_.command.generate().sequence());
    } else {
      *event.mutable_finished() = FailedToRun(outcome.status());
      event.mutable_finished()->set_engine_is_broken(
          texts_.session_.IsBrokenBy(event.finished().status().code()));
    }
    texts_.channel_.Send(event);
    texts_.queue_.Finish(work_.command);
    ended_ = true;
  }

  bool ended() const { return ended_; }
  CommandQueue::Work TakeWork() { return std::move(work_); }

 private:
  engine::v1::EngineEvent About() const {
    engine::v1::EngineEvent event;
    event.set_job(work_.command.job());
    event.set_row(work_.command.row());
    return event;
  }

  WaitingTexts& texts_;
  CommandQueue::Work work_;
  GenerateRequest request_;
  bool ended_ = false;
};

WaitingTexts::WaitingTexts(EventChannel& channel, CommandQueue& queue, const EngineSession& session)
    : channel_(channel), queue_(queue), session_(session) {}
WaitingTexts::~WaitingTexts() = default;

void WaitingTexts::BeginWith(CommandQueue::Work work) {
  takes_like_ = work.command.generate();
  waiting_.push_back(std::make_unique<Task>(*this, std::move(work)));
}

void WaitingTexts::TakeThoseThatWait() {
  while (std::optional<CommandQueue::Work> work = queue_.NextText()) {
    waiting_.push_back(std::make_unique<Task>(*this, *std::move(work)));
  }
}

TextTask* WaitingTexts::Next() {
  begun_.remove_if([](const std::unique_ptr<Task>& task) { return task->ended(); });
  for (;;) {
    if (waiting_.empty() && takes_like_.has_value()) {
      std::optional<CommandQueue::Work> work = queue_.NextText(&*takes_like_);
      if (work.has_value()) {
        waiting_.push_back(std::make_unique<Task>(*this, *std::move(work)));
      }
    }
    if (waiting_.empty()) return nullptr;
    begun_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    if (begun_.back()->Begin()) return begun_.back().get();
  }
}

void WaitingTexts::PutBack() {
  while (!waiting_.empty()) {
    queue_.PutBack(waiting_.back()->TakeWork());
    waiting_.pop_back();
  }
  while (!begun_.empty()) {
    if (!begun_.back()->ended()) queue_.PutBack(begun_.back()->TakeWork());
    begun_.pop_back();
  }
}

}  // namespace graft
