#include "worker/agent/server_link.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/method.h"
#include "common/methods/method.h"
#include "common/rpc/deadline.h"
#include "common/rpc/status.h"

namespace graft {
namespace {

constexpr size_t kChunkBytes = 512 << 10;
// A blob may be large and the link slow, but a transfer that takes this long has died.
constexpr absl::Duration kTransferTimeout = absl::Hours(2);
// A server that is away must not hold up the worker's end.
constexpr absl::Duration kHandBackTimeout = absl::Seconds(3);

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         (absl::IsResourceExhausted(status) && !ReasonOf(status).empty());
}

template <typename Request, typename Response, typename Method>
absl::StatusOr<Response> CallUnary(worker::v1::WorkerService::Stub& stub, Method method,
                                   const Request& request, absl::Duration timeout,
                                   StopSignal* stop = nullptr,
                                   const char* name = __builtin_FUNCTION()) {
  grpc::ClientContext context;
  std::optional<StopSignal::Callback> cancel;
  if (stop != nullptr) cancel.emplace(*stop, [&] { context.TryCancel(); });
  context.set_deadline(DeadlineAfter(timeout));
  Response response;
  Failpoint("link", name, "before_send");
  const absl::Status status = FromGrpcStatus((stub.*method)(&context, request, &response));
  Failpoint("link", name, "after_answer");
  RETURN_IF_ERROR(status);
  return response;
}

}  // namespace

absl::Status OfThisMachine(const absl::Status& status) {
  const bool taken_wrongly = absl::IsInvalidArgument(status) || absl::IsDataLoss(status);
  return taken_wrongly ? absl::AbortedError(status.message()) : status;
}

bool IsStaleLease(const absl::Status& status) { return ReasonOf(status) == kReasonStaleLease; }

ServerLink::ServerLink(std::shared_ptr<grpc::Channel> channel, Options options)
    : options_(std::move(options)), stub_(worker::v1::WorkerService::NewStub(std::move(channel))) {}

absl::Status ServerLink::Retry(StopSignal& stop, const std::function<absl::Status()>& call) const {
  absl::BitGen random;
  absl::Duration delay = options_.first_delay;
  while (!stop.stopped()) {
    const absl::Status status = call();
    if (!IsTransient(status)) return status;
    stop.WaitFor(delay * absl::Uniform(random, 0.5, 1.0));
    delay = std::min(delay * 1.5, options_.last_delay);
  }
  return absl::CancelledError("the worker is stopping");
}

absl::StatusOr<worker::v1::HeartbeatResponse> ServerLink::Heartbeat(
    worker::v1::HeartbeatRequest request, absl::Duration timeout) {
  *request.mutable_worker() = options_.identity;
  return CallUnary<worker::v1::HeartbeatRequest, worker::v1::HeartbeatResponse>(
      *stub_, &worker::v1::WorkerService::Stub::Heartbeat, request,
      std::min(timeout, options_.call_timeout));
}

absl::StatusOr<worker::v1::LeaseJobResponse> ServerLink::LeaseJob(
    const std::string& request_id, const std::optional<worker::v1::Capabilities>& capabilities) {
  worker::v1::LeaseJobRequest request;
  *request.mutable_worker() = options_.identity;
  request.set_request_id(request_id);
  if (capabilities.has_value()) *request.mutable_capabilities() = *capabilities;
  for (const Method* method : Methods()) request.add_methods(method->name());
  request.add_methods(kSeveralAdapters);
  return CallUnary<worker::v1::LeaseJobRequest, worker::v1::LeaseJobResponse>(
      *stub_, &worker::v1::WorkerService::Stub::LeaseJob, request, options_.call_timeout);
}

absl::StatusOr<worker::v1::ReportEventsResponse> ServerLink::ReportEvents(
    worker::v1::ReportEventsRequest request, StopSignal& stop) {
  *request.mutable_worker() = options_.identity;
  return CallUnary<worker::v1::ReportEventsRequest, worker::v1::ReportEventsResponse>(
      *stub_, &worker::v1::WorkerService::Stub::ReportEvents, request, options_.call_timeout,
      &stop);
}

absl::Status ServerLink::CommitCheckpoint(worker::v1::CommitCheckpointRequest request,
                                          StopSignal& stop) {
  *request.mutable_worker() = options_.identity;
  return CallUnary<worker::v1::CommitCheckpointRequest, google::protobuf::Empty>(
             *stub_, &worker::v1::WorkerService::Stub::CommitCheckpoint, request,
             options_.call_timeout, &stop)
      .status();
}

absl::StatusOr<worker::v1::FinishAttemptResponse> ServerLink::FinishAttempt(
    worker::v1::FinishAttemptRequest request, StopSignal& stop) {
  *request.mutable_worker() = options_.identity;
  return CallUnary<worker::v1::FinishAttemptRequest, worker::v1::FinishAttemptResponse>(
      *stub_, &worker::v1::WorkerService::Stub::FinishAttempt, request, options_.call_timeout,
      &stop);
}

absl::Status ServerLink::HandBack(worker::v1::FinishAttemptRequest request) {
  *request.mutable_worker() = options_.identity;
  return CallUnary<worker::v1::FinishAttemptRequest, worker::v1::FinishAttemptResponse>(
             *stub_, &worker::v1::WorkerService::Stub::FinishAttempt, request,
             std::min(kHandBackTimeout, options_.call_timeout))
      .status();
}

absl::Status ServerLink::AppendLog(worker::v1::AppendLogRequest request) {
  *request.mutable_worker() = options_.identity;
  return CallUnary<worker::v1::AppendLogRequest, worker::v1::AppendLogResponse>(
             *stub_, &worker::v1::WorkerService::Stub::AppendLog, request, options_.log_timeout)
      .status();
}

absl::Status ServerLink::ReportMeasurement(worker::v1::ReportMeasurementRequest request) {
  *request.mutable_worker() = options_.identity;
  return CallUnary<worker::v1::ReportMeasurementRequest, google::protobuf::Empty>(
             *stub_, &worker::v1::WorkerService::Stub::ReportMeasurement, request,
             options_.call_timeout)
      .status();
}

absl::Status ServerLink::UploadMissing(const std::string& directory,
                                       const std::vector<v1::Artifact>& files, StopSignal& stop) {
  worker::v1::HasBlobsRequest request;
  for (const v1::Artifact& file : files) request.add_sha256(file.sha256());
  ASSIGN_OR_RETURN(const worker::v1::HasBlobsResponse response,
                   (CallUnary<worker::v1::HasBlobsRequest, worker::v1::HasBlobsResponse>(
                       *stub_, &worker::v1::WorkerService::Stub::HasBlobs, request,
                       options_.call_timeout, &stop)));
  for (const v1::Artifact& file : files) {
    const auto& missing = response.missing();
    if (std::find(missing.begin(), missing.end(), file.sha256()) == missing.end()) continue;
    RETURN_IF_ERROR(
        Annotate(UploadBlob(JoinPath(directory, file.path()), file, stop), file.path()));
  }
  return absl::OkStatus();
}

absl::Status ServerLink::UploadBlob(const std::string& path, const v1::Artifact& artifact,
                                    StopSignal& stop) {
  ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDONLY));
  grpc::ClientContext context;
  const StopSignal::Callback cancel(stop, [&] { context.TryCancel(); });
  context.set_deadline(DeadlineAfter(kTransferTimeout));
  google::protobuf::Empty empty;
  auto stream = stub_->UploadBlob(&context, &empty);
  worker::v1::UploadBlobRequest message;
  message.mutable_metadata()->set_sha256(artifact.sha256());
  message.mutable_metadata()->set_size_bytes(artifact.size_bytes());
  bool open = stream->Write(message);
  std::string buffer(kChunkBytes, '\0');
  for (int64_t offset = 0; open && offset < artifact.size_bytes();) {
    ASSIGN_OR_RETURN(
        const size_t count,
        ReadAt(file.get(), offset, absl::MakeSpan(buffer.data(), buffer.size()), path));
    if (count == 0) break;  // Shorter than it was: the server refuses the hash.
    message.set_data(buffer.data(), count);
    Failpoint("link", "UploadBlob", "before_send");
    open = stream->Write(message);
    offset += static_cast<int64_t>(count);
  }
  stream->WritesDone();
  return FromGrpcStatus(stream->Finish());
}

absl::Status ServerLink::FetchBlob(const v1::Artifact& artifact, const std::string& path,
                                   StopSignal& stop) {
  absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
  RETURN_IF_ERROR(OfThisMachine(file.status()));
  grpc::ClientContext context;
  const StopSignal::Callback cancel(stop, [&] { context.TryCancel(); });
  context.set_deadline(DeadlineAfter(kTransferTimeout));
  worker::v1::FetchBlobRequest request;
  request.set_sha256(artifact.sha256());
  auto stream = stub_->FetchBlob(&context, request);
  Sha256 hash;
  worker::v1::BlobChunk chunk;
  while (stream->Read(&chunk)) {
    hash.Update(chunk.data());
    if (const absl::Status status = file->Append(chunk.data()); !status.ok()) {
      context.TryCancel();
      stream->Finish();
      return OfThisMachine(status);
    }
  }
  RETURN_IF_ERROR(FromGrpcStatus(stream->Finish()));
  if (hash.Hex() != artifact.sha256()) {
    return absl::AbortedError(absl::StrCat("blob ", artifact.sha256(), " arrived as ", hash.Hex(),
                                           " (", file->size_bytes(), " bytes)"));
  }
  return OfThisMachine(file->Commit());
}

absl::Status ServerLink::FollowCommands(
    worker::v1::ConnectRequest request,
    const std::function<void(const worker::v1::Command&)>& on_command, StopSignal& stop) {
  grpc::ClientContext context;
  const StopSignal::Callback cancel(stop, [&] { context.TryCancel(); });
  *request.mutable_worker() = options_.identity;
  auto stream = stub_->Connect(&context, request);
  worker::v1::Command command;
  while (stream->Read(&command)) on_command(command);
  return FromGrpcStatus(stream->Finish());
}

absl::Status ServerLink::ReportGeneration(
    const std::string& id, const std::function<bool(worker::v1::ReportGenerationRequest&)>& next) {
  grpc::ClientContext context;
  google::protobuf::Empty empty;
  auto stream = stub_->ReportGeneration(&context, &empty);
  worker::v1::ReportGenerationRequest message;
  message.set_id(id);
  *message.mutable_worker() = options_.identity;
  while (next(message)) {
    if (!stream->Write(message)) break;
    message.Clear();
  }
  stream->WritesDone();
  return FromGrpcStatus(stream->Finish());
}

absl::Status ServerLink::ReportGenerationError(const worker::v1::Command::Generate& first,
                                               const absl::Status& error) {
  bool sent = false;
  return ReportGeneration(first.id(), [&](worker::v1::ReportGenerationRequest& message) {
    message.set_row(first.row());
    *message.mutable_error() = ToRpcStatus(error);
    return !std::exchange(sent, true);
  });
}

}  // namespace graft
