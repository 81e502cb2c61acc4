#pragma once

#include "graft/worker/v1/worker.grpc.pb.h"
#include "server/rpc/one_at_a_time.h"
#include "server/rpc/service_context.h"

namespace graft {

// graft.worker.v1.WorkerService. Every call about a job carries its lease, which the store compares
// in the transaction itself. Thread-safe; the context outlives it.
class WorkerService final : public worker::v1::WorkerService::CallbackService {
 public:
  explicit WorkerService(ServiceContext& context) : context_(context), finishing_(context.clock) {}

  grpc::ServerWriteReactor<worker::v1::Command>* Connect(
      grpc::CallbackServerContext* call, const worker::v1::ConnectRequest* request) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* call,
                                      const worker::v1::HeartbeatRequest* request,
                                      worker::v1::HeartbeatResponse* response) override;
  grpc::ServerUnaryReactor* LeaseJob(grpc::CallbackServerContext* call,
                                     const worker::v1::LeaseJobRequest* request,
                                     worker::v1::LeaseJobResponse* response) override;
  grpc::ServerUnaryReactor* ReportEvents(grpc::CallbackServerContext* call,
                                         const worker::v1::ReportEventsRequest* request,
                                         worker::v1::ReportEventsResponse* response) override;
  grpc::ServerUnaryReactor* FinishAttempt(grpc::CallbackServerContext* call,
                                          const worker::v1::FinishAttemptRequest* request,
                                          worker::v1::FinishAttemptResponse* response) override;
  grpc::ServerUnaryReactor* CommitCheckpoint(grpc::CallbackServerContext* call,
                                             const worker::v1::CommitCheckpointRequest* request,
                                             google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* AppendLog(grpc::CallbackServerContext* call,
                                      const worker::v1::AppendLogRequest* request,
                                      worker::v1::AppendLogResponse* response) override;
  grpc::ServerUnaryReactor* HasBlobs(grpc::CallbackServerContext* call,
                                     const worker::v1::HasBlobsRequest* request,
                                     worker::v1::HasBlobsResponse* response) override;
  grpc::ServerReadReactor<worker::v1::UploadBlobRequest>* UploadBlob(
      grpc::CallbackServerContext* call, google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<worker::v1::BlobChunk>* FetchBlob(
      grpc::CallbackServerContext* call, const worker::v1::FetchBlobRequest* request) override;
  grpc::ServerUnaryReactor* ReportMeasurement(grpc::CallbackServerContext* call,
                                              const worker::v1::ReportMeasurementRequest* request,
                                              google::protobuf::Empty* response) override;
  grpc::ServerReadReactor<worker::v1::ReportGenerationRequest>* ReportGeneration(
      grpc::CallbackServerContext* call, google::protobuf::Empty* response) override;

 private:
  absl::StatusOr<std::unique_ptr<MessageSource<worker::v1::Command>>> OpenCommands(
      const worker::v1::ConnectRequest& request, std::shared_ptr<StreamWaker> waker);
  absl::Status Renew(const worker::v1::HeartbeatRequest& request,
                     worker::v1::HeartbeatResponse* response);
  absl::Status Lease(const worker::v1::LeaseJobRequest& request,
                     worker::v1::LeaseJobResponse* response);
  absl::Status Report(const worker::v1::ReportEventsRequest& request,
                      worker::v1::ReportEventsResponse* response);
  absl::Status Finish(const worker::v1::FinishAttemptRequest& request, const Caller& caller,
                      worker::v1::FinishAttemptResponse* response);
  absl::Status Checkpoint(const worker::v1::CommitCheckpointRequest& request);
  absl::Status Append(const worker::v1::AppendLogRequest& request,
                      worker::v1::AppendLogResponse* response);
  absl::Status FindMissing(const worker::v1::HasBlobsRequest& request,
                           worker::v1::HasBlobsResponse* response);

  ServiceContext& context_;
  // The attempts whose end is at work: a call that is repeated, since the first takes longer than
  // its deadline, must not do all of it once more beside it. By job.
  OneAtATime finishing_;
};

}  // namespace graft
