#include "server/serving/generation_streams.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"

namespace graft {

absl::StatusOr<SourceState> GenerationSource::Next(v1::GenerateResponse* response) {
  v1::GenerateBatchResponse message;
  ASSIGN_OR_RETURN(const SourceState state, texts_.Next(&message));
  if (message.has_error()) return FromRpcStatus(message.error());
  *response = std::move(*message.mutable_response());
  return state;
}

GenerationSink::~GenerationSink() {
  if (batch_ != nullptr) {
    broker_.Finish(batch_, absl::UnavailableError("the worker was lost in the middle of the text"));
  }
}

absl::Status GenerationSink::OnMessage(worker::v1::ReportGenerationRequest& message) {
  if (batch_ == nullptr) {
    if (message.id().empty()) return FieldViolation("id", "must be set in the first message");
    ASSIGN_OR_RETURN(batch_, broker_.Claim(message.id(), message.worker().id()));
  }
  if (message.has_error()) {
    const absl::Status error = FromRpcStatus(message.error());
    broker_.EndRow(batch_, message.row(),
                   error.ok() ? absl::InternalError("the worker gave no reason") : error);
    return absl::OkStatus();
  }
  if (!message.has_response()) return absl::OkStatus();
  return broker_.Report(batch_, message.row(), std::move(*message.mutable_response()));
}

absl::Status GenerationSink::OnEnd(const Gone& gone) {
  if (batch_ == nullptr) return FieldViolation("id", "the report was empty");
  broker_.Finish(batch_, absl::OkStatus());
  return absl::OkStatus();
}

}  // namespace graft
