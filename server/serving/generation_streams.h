#pragma once

// The streams of texts: the users' Generate and GenerateBatch and the worker's ReportGeneration.

#include <memory>

#include "graft/v1/adapter.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/serving/generation_broker.h"
#include "server/streams/message_stream.h"

namespace graft {

// Ends the texts when destroyed, wherever they are.
class GenerationBatchSource : public MessageSource<v1::GenerateBatchResponse> {
 public:
  GenerationBatchSource(GenerationBroker& broker, GenerationBroker::Handle call)
      : broker_(broker), call_(std::move(call)) {}
  ~GenerationBatchSource() override { broker_.Abandon(call_); }
  absl::StatusOr<SourceState> Next(v1::GenerateBatchResponse* response) override {
    return broker_.Next(call_, response);
  }

 private:
  GenerationBroker& broker_;
  const GenerationBroker::Handle call_;
};

// Those of one request. The first error ends it.
class GenerationSource : public MessageSource<v1::GenerateResponse> {
 public:
  GenerationSource(GenerationBroker& broker, GenerationBroker::Handle call)
      : texts_(broker, std::move(call)) {}
  absl::StatusOr<SourceState> Next(v1::GenerateResponse* response) override;

 private:
  GenerationBatchSource texts_;
};

// NOT_FOUND, CANCELLED: nobody waits for the texts; the worker stops them. INVALID_ARGUMENT: no id
// first.
class GenerationSink : public MessageSink<worker::v1::ReportGenerationRequest> {
 public:
  explicit GenerationSink(GenerationBroker& broker) : broker_(broker) {}
  ~GenerationSink() override;
  absl::Status OnMessage(worker::v1::ReportGenerationRequest& message) override;
  absl::Status OnEnd(const Gone& gone) override;

 private:
  GenerationBroker& broker_;
  GenerationBroker::Batch batch_;  // Null before the first message.
};

}  // namespace graft
