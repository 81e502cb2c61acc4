#pragma once

// The two streams of a text: the user's Generate and the worker's ReportGeneration.

#include <memory>

#include "graft/v1/adapter.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/serving/generation_broker.h"
#include "server/streams/message_stream.h"

namespace graft {

// Ends the text when destroyed, wherever it is.
class GenerationSource : public MessageSource<v1::GenerateResponse> {
 public:
  GenerationSource(GenerationBroker& broker, GenerationBroker::Handle generation)
      : broker_(broker), generation_(std::move(generation)) {}
  ~GenerationSource() override { broker_.Abandon(generation_); }
  absl::StatusOr<SourceState> Next(v1::GenerateResponse* response) override {
    return broker_.Next(generation_, response);
  }

 private:
  GenerationBroker& broker_;
  const GenerationBroker::Handle generation_;
};

// NOT_FOUND, CANCELLED: nobody waits for the text; the worker stops it. INVALID_ARGUMENT: no id
// first.
class GenerationSink : public MessageSink<worker::v1::ReportGenerationRequest> {
 public:
  explicit GenerationSink(GenerationBroker& broker) : broker_(broker) {}
  ~GenerationSink() override;
  absl::Status OnMessage(worker::v1::ReportGenerationRequest& message) override;
  absl::Status OnEnd(const Gone& gone) override;

 private:
  void Finish(const absl::Status& status);

  GenerationBroker& broker_;
  GenerationBroker::Handle generation_;  // Null before the first message.
  bool done_ = false;                    // The last message has come.
  bool finished_ = false;
};

}  // namespace graft
