#include "server/serving/text.h"

#include <algorithm>
#include <utility>

#include "common/rpc/status.h"

namespace graft {

using worker::v1::Command;

bool Text::needs_batching() const {
  const v1::GenerateRequest& asked = command->request();
  return sequence > 0 || asked.stop_strings_size() > 0 || asked.log_probabilities();
}

Command Text::CommandTo(const TextBatch& to) const {
  Command told;
  Command::Generate& generate = *told.mutable_generate();
  generate = *command;
  generate.set_id(to.id);
  generate.set_row(row);
  generate.set_sequence(sequence);
  return told;
}

TextCall::TextCall(std::vector<Command::Generate> commands, std::shared_ptr<StreamWaker> waker,
                   absl::Duration now)
    : waker_(std::move(waker)) {
  for (size_t i = 0; i < commands.size(); ++i) {
    const auto command = std::make_shared<const Command::Generate>(std::move(commands[i]));
    const int sequences = std::max(1, command->request().num_return_sequences());
    for (int sequence = 0; sequence < sequences; ++sequence) {
      texts_.push_back({.call = this,
                        .command = command,
                        .request = static_cast<int>(i),
                        .sequence = sequence,
                        .submitted = now});
    }
  }
  running_ = texts_.size();
}

bool TextCall::Push(Text& text, v1::GenerateResponse response) {
  response.set_sequence(text.sequence);
  if (text.waiting >= kMaxWaitingMessages) {
    const size_t bytes =
        text.last->text().size() + sizeof(int32_t) * static_cast<size_t>(text.last->ids_size());
    if (bytes > kMaxWaitingTextBytes) return false;
    std::string whole = text.last->text() + response.text();
    text.last->MergeFrom(response);
    text.last->set_text(std::move(whole));
    return true;
  }
  Message& message = messages_.emplace_back(Message{&text, {}});
  message.response.set_row(text.request);
  message.response.set_sequence(text.sequence);
  *message.response.mutable_response() = std::move(response);
  text.last = message.response.mutable_response();
  ++text.waiting;
  return true;
}

void TextCall::End(Text& text, const absl::Status& status) {
  text.ended = true;
  --running_;
  if (status.ok()) return;
  Message& message = messages_.emplace_back(Message{&text, {}});
  message.response.set_row(text.request);
  message.response.set_sequence(text.sequence);
  *message.response.mutable_error() = ToRpcStatus(status);
}

SourceState TextCall::Next(v1::GenerateBatchResponse* response) {
  if (messages_.empty()) return running_ == 0 ? SourceState::kEnd : SourceState::kWait;
  Message& message = messages_.front();
  if (message.response.has_response()) --message.text->waiting;
  *response = std::move(message.response);
  messages_.pop_front();
  return SourceState::kMessage;
}

}  // namespace graft
