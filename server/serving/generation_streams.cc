#include "server/serving/generation_streams.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"

namespace graft {

GenerationSink::~GenerationSink() {
  if (generation_ != nullptr) {
    Finish(absl::UnavailableError("the worker was lost in the middle of the text"));
  }
}

absl::Status GenerationSink::OnMessage(worker::v1::ReportGenerationRequest& message) {
  if (generation_ == nullptr) {
    if (message.id().empty()) return FieldViolation("id", "must be set in the first message");
    ASSIGN_OR_RETURN(generation_, broker_.Claim(message.id(), message.worker().id()));
  }
  if (message.has_error()) {
    Finish(FromRpcStatus(message.error()));
    return absl::OkStatus();
  }
  if (!message.has_response()) return absl::OkStatus();
  done_ = done_ || message.response().done();
  return broker_.Report(generation_, std::move(*message.mutable_response()));
}

absl::Status GenerationSink::OnEnd(const Gone& gone) {
  if (generation_ == nullptr) return FieldViolation("id", "the report was empty");
  Finish(done_ ? absl::OkStatus()
               : absl::UnavailableError("the worker ended the text before its last message"));
  return absl::OkStatus();
}

void GenerationSink::Finish(const absl::Status& status) {
  if (finished_) return;
  finished_ = true;
  broker_.Finish(generation_, status);
}

}  // namespace graft
