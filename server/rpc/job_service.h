#pragma once

#include <optional>

#include "graft/v1/job.grpc.pb.h"
#include "server/rpc/data_judge.h"
#include "server/rpc/one_at_a_time.h"
#include "server/rpc/service_context.h"

namespace graft {

// graft.v1.JobService on a JobStore. Thread-safe; the context outlives it.
class JobService final : public v1::JobService::CallbackService {
 public:
  explicit JobService(ServiceContext& context) : context_(context), purging_(context.clock) {}

  grpc::ServerUnaryReactor* CreateJob(grpc::CallbackServerContext* call,
                                      const v1::CreateJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* call,
                                   const v1::GetJobRequest* request, v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* call,
                                     const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(
      grpc::CallbackServerContext* call, const v1::WatchJobRequest* request) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* call,
                                      const v1::CancelJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* PauseJob(grpc::CallbackServerContext* call,
                                     const v1::PauseJobRequest* request,
                                     v1::Job* response) override;
  grpc::ServerUnaryReactor* ResumeJob(grpc::CallbackServerContext* call,
                                      const v1::ResumeJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* CheckpointJob(grpc::CallbackServerContext* call,
                                          const v1::CheckpointJobRequest* request,
                                          v1::Job* response) override;
  grpc::ServerUnaryReactor* RetryJob(grpc::CallbackServerContext* call,
                                     const v1::RetryJobRequest* request,
                                     v1::Job* response) override;
  grpc::ServerUnaryReactor* UpdateJob(grpc::CallbackServerContext* call,
                                      const v1::UpdateJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobCheckpoints(grpc::CallbackServerContext* call,
                                               const v1::ListJobCheckpointsRequest* request,
                                               v1::ListJobCheckpointsResponse* response) override;
  grpc::ServerUnaryReactor* PinJobCheckpoint(grpc::CallbackServerContext* call,
                                             const v1::PinJobCheckpointRequest* request,
                                             v1::JobCheckpoint* response) override;
  grpc::ServerWriteReactor<v1::FileChunk>* DownloadJobCheckpoint(
      grpc::CallbackServerContext* call, const v1::DownloadJobCheckpointRequest* request) override;
  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext* call,
                                      const v1::DeleteJobRequest* request,
                                      google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* PurgeJobs(grpc::CallbackServerContext* call,
                                      const v1::PurgeJobsRequest* request,
                                      v1::PurgeJobsResponse* response) override;
  grpc::ServerUnaryReactor* ListJobArtifacts(grpc::CallbackServerContext* call,
                                             const v1::ListJobArtifactsRequest* request,
                                             v1::ListJobArtifactsResponse* response) override;
  grpc::ServerWriteReactor<v1::FileChunk>* DownloadJobArtifact(
      grpc::CallbackServerContext* call, const v1::DownloadJobArtifactRequest* request) override;
  grpc::ServerWriteReactor<v1::JobLogChunk>* ReadJobLog(
      grpc::CallbackServerContext* call, const v1::ReadJobLogRequest* request) override;
  grpc::ServerUnaryReactor* GetQueue(grpc::CallbackServerContext* call,
                                     const v1::GetQueueRequest* request,
                                     v1::GetQueueResponse* response) override;
  grpc::ServerUnaryReactor* CompareJobs(grpc::CallbackServerContext* call,
                                        const v1::CompareJobsRequest* request,
                                        v1::CompareJobsResponse* response) override;
  grpc::ServerUnaryReactor* ReadRows(grpc::CallbackServerContext* call,
                                     const v1::ReadRowsRequest* request,
                                     v1::ReadRowsResponse* response) override;
  grpc::ServerUnaryReactor* ReadMetrics(grpc::CallbackServerContext* call,
                                        const v1::ReadMetricsRequest* request,
                                        v1::ReadMetricsResponse* response) override;
  grpc::ServerUnaryReactor* PlanJob(grpc::CallbackServerContext* call,
                                    const v1::PlanJobRequest* request,
                                    v1::JobPlan* response) override;

 private:
  // Nothing: `judge` said nothing.
  absl::StatusOr<std::optional<v1::Job>> Create(const v1::CreateJobRequest& request,
                                                const DataJudge& judge);
  // As if no such request had been answered; InsertJob answers one that was, if it comes to that.
  absl::StatusOr<std::optional<v1::Job>> CreateNew(const v1::Job& asked, const RequestKey& key,
                                                   bool validate_only, const DataJudge& judge);
  absl::Status List(const v1::ListJobsRequest& request, v1::ListJobsResponse* response);
  absl::Status Delete(const v1::DeleteJobRequest& request);
  absl::StatusOr<v1::PurgeJobsResponse> Purge(const v1::PurgeJobsRequest& request,
                                              const Gone& gone);
  absl::StatusOr<v1::JobPlan> Plan(const v1::PlanJobRequest& request, const Caller& caller);
  absl::StatusOr<v1::Artifact> FindArtifact(const v1::DownloadJobArtifactRequest& request);

  ServiceContext& context_;
  OneAtATime purging_;
};

}  // namespace graft
