#include "client/api_client.h"

#include <algorithm>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "client/calls.h"
#include "client/file_transfer.h"
#include "client/retry.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/deadline.h"
#include "common/rpc/status.h"

namespace graft {
namespace {

// Writes the files that a call sends below `directory`.
template <typename Request, typename Stub>
absl::Status Receive(Stub& stub,
                     std::unique_ptr<grpc::ClientReader<v1::FileChunk>> (Stub::*method)(
                         grpc::ClientContext*, const Request&),
                     const Request& request, grpc::ClientContext& context,
                     const std::string& directory) {
  ASSIGN_OR_RETURN(FolderWriter folder, FolderWriter::Create(directory));
  context.set_deadline(DeadlineAfter(kTransferTimeout));
  const auto stream = (stub.*method)(&context, request);
  v1::FileChunk chunk;
  absl::Status written = absl::OkStatus();
  while (written.ok() && stream->Read(&chunk)) written = folder.Write(chunk);
  if (!written.ok()) context.TryCancel();
  const absl::Status status = FromGrpcStatus(stream->Finish());
  RETURN_IF_ERROR(written);
  RETURN_IF_ERROR(status);
  return folder.Commit();
}

}  // namespace

std::string NewRequestId() {
  absl::BitGen random;
  return absl::StrCat("cli-", absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
}

void ApiClient::CancelStreams() {
  MutexLock lock(mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* context : streams_) context->TryCancel();
}

bool ApiClient::cancelled() {
  MutexLock lock(mutex_);
  return cancelled_;
}

std::unique_ptr<ApiClient> ApiClient::Connect(const std::string& address, Options options) {
  return std::make_unique<ApiClient>(MakeChannel(address), options);
}

ApiClient::ApiClient(std::shared_ptr<grpc::Channel> channel, Options options)
    : options_(options),
      channel_(std::move(channel)),
      jobs_(v1::JobService::NewStub(channel_)),
      datasets_(v1::DatasetService::NewStub(channel_)),
      adapters_(v1::AdapterService::NewStub(channel_)),
      models_(v1::ModelService::NewStub(channel_)),
      uploads_(v1::UploadService::NewStub(channel_)),
      studies_(v1::StudyService::NewStub(channel_)),
      workers_(v1::WorkerService::NewStub(channel_)) {}

absl::StatusOr<v1::Job> ApiClient::CreateJob(v1::CreateJobRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return CallOnce(options_, *jobs_, &v1::JobService::Stub::CreateJob, request);
}

absl::StatusOr<v1::Job> ApiClient::GetJob(const std::string& name) {
  return Call(options_, *jobs_, &v1::JobService::Stub::GetJob, Named<v1::GetJobRequest>(name));
}

absl::StatusOr<v1::ListJobsResponse> ApiClient::ListJobs(const v1::ListJobsRequest& request) {
  return Call(options_, *jobs_, &v1::JobService::Stub::ListJobs, request);
}

absl::StatusOr<v1::Job> ApiClient::CancelJob(const std::string& name, bool save_checkpoint) {
  auto request = Once<v1::CancelJobRequest>(name);
  request.set_save_checkpoint(save_checkpoint);
  return CallOnce(options_, *jobs_, &v1::JobService::Stub::CancelJob, request);
}

absl::StatusOr<v1::Job> ApiClient::PauseJob(const std::string& name) {
  return CallOnce(options_, *jobs_, &v1::JobService::Stub::PauseJob,
                  Once<v1::PauseJobRequest>(name));
}

absl::StatusOr<v1::Job> ApiClient::ResumeJob(const std::string& name) {
  return CallOnce(options_, *jobs_, &v1::JobService::Stub::ResumeJob,
                  Once<v1::ResumeJobRequest>(name));
}

absl::StatusOr<v1::Job> ApiClient::CheckpointJob(const std::string& name) {
  return CallOnce(options_, *jobs_, &v1::JobService::Stub::CheckpointJob,
                  Once<v1::CheckpointJobRequest>(name));
}

absl::StatusOr<v1::Job> ApiClient::RetryJob(const std::string& name, bool from_scratch) {
  auto request = Once<v1::RetryJobRequest>(name);
  request.set_from_scratch(from_scratch);
  return CallOnce(options_, *jobs_, &v1::JobService::Stub::RetryJob, request);
}

absl::StatusOr<v1::Job> ApiClient::UpdateJob(v1::UpdateJobRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return CallOnce(options_, *jobs_, &v1::JobService::Stub::UpdateJob, request);
}

absl::Status ApiClient::DeleteJob(const std::string& name, bool delete_adapter) {
  auto request = Once<v1::DeleteJobRequest>(name);
  request.set_delete_adapter(delete_adapter);
  return CallOnce(options_, *jobs_, &v1::JobService::Stub::DeleteJob, request).status();
}

absl::StatusOr<v1::PurgeJobsResponse> ApiClient::PurgeJobs(v1::PurgeJobsRequest request) {
  request.set_request_id(NewRequestId());
  Options options = options_;
  if (request.force()) options.call_timeout = std::max(options.call_timeout, kTransferTimeout);
  return Call(options, *jobs_, &v1::JobService::Stub::PurgeJobs, request);
}

absl::StatusOr<v1::ListJobCheckpointsResponse> ApiClient::ListJobCheckpoints(
    const std::string& name) {
  return Call(options_, *jobs_, &v1::JobService::Stub::ListJobCheckpoints,
              Named<v1::ListJobCheckpointsRequest>(name));
}

absl::StatusOr<v1::JobCheckpoint> ApiClient::PinJobCheckpoint(const std::string& name,
                                                              bool pinned) {
  auto request = Named<v1::PinJobCheckpointRequest>(name);
  request.set_pinned(pinned);
  return Call(options_, *jobs_, &v1::JobService::Stub::PinJobCheckpoint, request);
}

absl::Status ApiClient::DownloadJobCheckpoint(const std::string& name,
                                              const std::string& directory) {
  grpc::ClientContext context;
  const StreamScope scope(*this, context);
  return Receive(*jobs_, &v1::JobService::Stub::DownloadJobCheckpoint,
                 Named<v1::DownloadJobCheckpointRequest>(name), context, directory);
}

absl::StatusOr<v1::ListJobArtifactsResponse> ApiClient::ListJobArtifacts(const std::string& name) {
  return Call(options_, *jobs_, &v1::JobService::Stub::ListJobArtifacts,
              Named<v1::ListJobArtifactsRequest>(name));
}

absl::StatusOr<v1::GetQueueResponse> ApiClient::GetQueue(const v1::GetQueueRequest& request) {
  return Call(options_, *jobs_, &v1::JobService::Stub::GetQueue, request);
}

absl::StatusOr<v1::CompareJobsResponse> ApiClient::CompareJobs(
    const v1::CompareJobsRequest& request) {
  return Call(options_, *jobs_, &v1::JobService::Stub::CompareJobs, request);
}

absl::StatusOr<v1::ReadRowsResponse> ApiClient::ReadRows(const v1::ReadRowsRequest& request) {
  return Call(options_, *jobs_, &v1::JobService::Stub::ReadRows, request);
}

absl::StatusOr<v1::ReadMetricsResponse> ApiClient::ReadMetrics(
    const v1::ReadMetricsRequest& request) {
  return Call(options_, *jobs_, &v1::JobService::Stub::ReadMetrics, request);
}

absl::StatusOr<v1::JobPlan> ApiClient::PlanJob(const v1::PlanJobRequest& request) {
  Options options = options_;
  if (!request.without_worker()) options.call_timeout += kMeasuringTime;
  return Call(options, *jobs_, &v1::JobService::Stub::PlanJob, request);
}

absl::Status ApiClient::WatchJob(const std::string& name, int64_t after_sequence,
                                 const std::function<bool(const v1::WatchJobResponse&)>& on_message,
                                 const std::function<void(const absl::Status&)>& on_reconnect) {
  auto request = Named<v1::WatchJobRequest>(name);
  request.set_after_sequence(after_sequence);
  return Follow(*jobs_, &v1::JobService::Stub::WatchJob, request, on_message, on_reconnect);
}

absl::Status ApiClient::DownloadJobArtifact(const std::string& name, const std::string& artifact,
                                            const std::string& path) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  grpc::ClientContext context;
  const StreamScope scope(*this, context);
  context.set_deadline(DeadlineAfter(kTransferTimeout));
  auto request = Named<v1::DownloadJobArtifactRequest>(name);
  request.set_path(artifact);
  auto stream = jobs_->DownloadJobArtifact(&context, request);
  v1::FileChunk chunk;
  absl::Status written = absl::OkStatus();
  while (written.ok() && stream->Read(&chunk)) written = file.Append(chunk.data());
  if (!written.ok()) context.TryCancel();
  const absl::Status status = FromGrpcStatus(stream->Finish());
  RETURN_IF_ERROR(written);
  RETURN_IF_ERROR(status);
  return file.Commit();
}

absl::Status ApiClient::ReadJobLog(const v1::ReadJobLogRequest& request,
                                   const std::function<bool(const v1::JobLogChunk&)>& on_chunk) {
  v1::ReadJobLogRequest rest = request;
  bool stopped = false;
  return RetryUnavailable(
      request.follow() ? options_.watch_patience : options_.patience, [&]() -> absl::Status {
        grpc::ClientContext context;
        const StreamScope scope(*this, context);
        auto stream = jobs_->ReadJobLog(&context, rest);
        v1::JobLogChunk chunk;
        while (!stopped && stream->Read(&chunk)) {
          rest.set_attempt(chunk.attempt());
          rest.set_offset_bytes(chunk.offset_bytes() + static_cast<int64_t>(chunk.data().size()));
          stopped = !on_chunk(chunk);
          if (stopped) context.TryCancel();
        }
        const absl::Status end = EndOf(stream->Finish(), stopped || cancelled());
        return stopped ? absl::OkStatus() : end;
      });
}

absl::StatusOr<v1::Dataset> ApiClient::GetDataset(const std::string& name) {
  return Call(options_, *datasets_, &v1::DatasetService::Stub::GetDataset,
              Named<v1::GetDatasetRequest>(name));
}

absl::StatusOr<v1::ListDatasetsResponse> ApiClient::ListDatasets(
    const v1::ListDatasetsRequest& request) {
  return Call(options_, *datasets_, &v1::DatasetService::Stub::ListDatasets, request);
}

absl::Status ApiClient::DeleteDataset(const std::string& name) {
  return Call(options_, *datasets_, &v1::DatasetService::Stub::DeleteDataset,
              Named<v1::DeleteDatasetRequest>(name))
      .status();
}

absl::StatusOr<v1::PreviewDatasetResponse> ApiClient::PreviewDataset(
    const v1::PreviewDatasetRequest& request) {
  return Call(options_, *datasets_, &v1::DatasetService::Stub::PreviewDataset, request);
}

absl::StatusOr<v1::Adapter> ApiClient::GetAdapter(const std::string& name) {
  return Call(options_, *adapters_, &v1::AdapterService::Stub::GetAdapter,
              Named<v1::GetAdapterRequest>(name));
}

absl::StatusOr<v1::ListAdaptersResponse> ApiClient::ListAdapters(
    const v1::ListAdaptersRequest& request) {
  return Call(options_, *adapters_, &v1::AdapterService::Stub::ListAdapters, request);
}

absl::Status ApiClient::DownloadAdapter(const v1::DownloadAdapterRequest& request,
                                        const std::string& directory) {
  grpc::ClientContext context;
  const StreamScope scope(*this, context);
  return Receive(*adapters_, &v1::AdapterService::Stub::DownloadAdapter, request, context,
                 directory);
}

absl::Status ApiClient::MergeAdapter(const v1::MergeAdapterRequest& request,
                                     const std::string& directory) {
  grpc::ClientContext context;
  const StreamScope scope(*this, context);
  return Receive(*adapters_, &v1::AdapterService::Stub::MergeAdapter, request, context, directory);
}

absl::Status ApiClient::DeleteAdapter(const std::string& name) {
  return Call(options_, *adapters_, &v1::AdapterService::Stub::DeleteAdapter,
              Named<v1::DeleteAdapterRequest>(name))
      .status();
}

template <typename Request, typename Response>
absl::Status ApiClient::ReadTexts(std::unique_ptr<grpc::ClientReader<Response>> (
                                      v1::AdapterService::Stub::*method)(grpc::ClientContext*,
                                                                         const Request&),
                                  const Request& request,
                                  const std::function<bool(const Response&)>& on_message) {
  bool stopped = false;
  bool begun = false;
  return RetryUnavailable(options_.patience, [&]() -> absl::Status {
    grpc::ClientContext context;
    const StreamScope scope(*this, context);
    auto stream = (adapters_.get()->*method)(&context, request);
    Response response;
    while (!stopped && stream->Read(&response)) {
      begun = true;
      stopped = !on_message(response);
      if (stopped) context.TryCancel();
    }
    const absl::Status end = EndOf(stream->Finish(), stopped || cancelled());
    if (stopped) return absl::OkStatus();
    // What was printed cannot be taken back: a text that broke off is not begun again.
    return begun && absl::IsUnavailable(end) ? absl::AbortedError(end.message()) : end;
  });
}

absl::Status ApiClient::Generate(
    const v1::GenerateRequest& request,
    const std::function<bool(const v1::GenerateResponse&)>& on_message) {
  return ReadTexts(&v1::AdapterService::Stub::Generate, request, on_message);
}

absl::Status ApiClient::GenerateBatch(
    const v1::GenerateBatchRequest& request,
    const std::function<bool(const v1::GenerateBatchResponse&)>& on_message) {
  return ReadTexts(&v1::AdapterService::Stub::GenerateBatch, request, on_message);
}

absl::StatusOr<v1::Model> ApiClient::GetModel(const std::string& name) {
  return Call(options_, *models_, &v1::ModelService::Stub::GetModel,
              Named<v1::GetModelRequest>(name));
}

absl::StatusOr<v1::ListModelsResponse> ApiClient::ListModels(const v1::ListModelsRequest& request) {
  return Call(options_, *models_, &v1::ModelService::Stub::ListModels, request);
}

absl::Status ApiClient::DeleteModel(const std::string& name) {
  return Call(options_, *models_, &v1::ModelService::Stub::DeleteModel,
              Named<v1::DeleteModelRequest>(name))
      .status();
}

absl::StatusOr<v1::ListWorkersResponse> ApiClient::ListWorkers(
    const v1::ListWorkersRequest& request) {
  return Call(options_, *workers_, &v1::WorkerService::Stub::ListWorkers, request);
}

}  // namespace graft
