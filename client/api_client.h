#pragma once

// The C++ client of graft.v1: each RPC with its deadline and its retry, streams that resume,
// transfers of whole files and folders. All failures are absl::Status, with the server's details as
// payloads.
//
//   auto client = graft::ApiClient::Connect("127.0.0.1:50051");
//   ASSIGN_OR_RETURN(graft::v1::Job job, client->CreateJob(request));
//   RETURN_IF_ERROR(client->WatchJob(job.name(), 0, [](const auto& response) { …; return true; }));

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/upload.h"
#include "common/base/mutex.h"
#include "graft/v1/adapter.grpc.pb.h"
#include "graft/v1/dataset.grpc.pb.h"
#include "graft/v1/job.grpc.pb.h"
#include "graft/v1/model.grpc.pb.h"
#include "graft/v1/study.grpc.pb.h"
#include "graft/v1/upload.grpc.pb.h"
#include "graft/v1/worker.grpc.pb.h"
#include "grpcpp/channel.h"

namespace graft {

// A request_id that no other request has.
std::string NewRequestId();

// For which a worker may be measuring a planned job.
inline constexpr absl::Duration kMeasuringTime = absl::Seconds(30);

// Thread-safe; blocks. UNAVAILABLE is tried again a few times within `patience`. A request that
// creates, cancels or deletes a job carries a request_id, so that trying again does it once; it is
// therefore sent again, too, when half of `call_timeout` has brought no answer.
class ApiClient {
 public:
  struct Options {
    absl::Duration call_timeout = absl::Seconds(30);
    // How long an absent server is waited for, per call.
    absl::Duration patience = absl::Seconds(2);
    // How long WatchJob, or an upload, waits for a server that went away in the middle.
    absl::Duration watch_patience = absl::Minutes(10);
  };
  // Does not connect yet: the first call does.
  static std::unique_ptr<ApiClient> Connect(const std::string& address, Options options);
  explicit ApiClient(std::shared_ptr<grpc::Channel> channel, Options options);

  // Ends watches, downloads and calls for texts in other threads, now and from now on; they return
  // CANCELLED.
  void CancelStreams() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<v1::Job> CreateJob(v1::CreateJobRequest request);
  absl::StatusOr<v1::Job> GetJob(const std::string& name);
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request);
  // `save_checkpoint`: a running job ends its step and saves first.
  absl::StatusOr<v1::Job> CancelJob(const std::string& name, bool save_checkpoint = false);
  absl::StatusOr<v1::Job> PauseJob(const std::string& name);
  absl::StatusOr<v1::Job> ResumeJob(const std::string& name);
  absl::StatusOr<v1::Job> CheckpointJob(const std::string& name);
  absl::StatusOr<v1::Job> RetryJob(const std::string& name, bool from_scratch);
  absl::StatusOr<v1::Job> UpdateJob(v1::UpdateJobRequest request);
  absl::Status DeleteJob(const std::string& name, bool delete_adapter);
  // As long as it takes, with `force`; broken off, it has deleted some.
  absl::StatusOr<v1::PurgeJobsResponse> PurgeJobs(v1::PurgeJobsRequest request);
  absl::StatusOr<v1::ListJobCheckpointsResponse> ListJobCheckpoints(const std::string& name);
  // `name` is the checkpoint's: "jobs/{id}/checkpoints/{step}".
  absl::StatusOr<v1::JobCheckpoint> PinJobCheckpoint(const std::string& name, bool pinned);
  // As DownloadAdapter.
  absl::Status DownloadJobCheckpoint(const std::string& name, const std::string& directory);
  absl::StatusOr<v1::ListJobArtifactsResponse> ListJobArtifacts(const std::string& name);
  absl::StatusOr<v1::GetQueueResponse> GetQueue(const v1::GetQueueRequest& request);
  absl::StatusOr<v1::CompareJobsResponse> CompareJobs(const v1::CompareJobsRequest& request);
  absl::StatusOr<v1::ReadRowsResponse> ReadRows(const v1::ReadRowsRequest& request);
  absl::StatusOr<v1::ReadMetricsResponse> ReadMetrics(const v1::ReadMetricsRequest& request);
  // What a job would do. It has kMeasuringTime more than other calls, unless nothing is measured.
  absl::StatusOr<v1::JobPlan> PlanJob(const v1::PlanJobRequest& request);

  // Calls on_message for every event after `after_sequence` and every heartbeat, until the job is
  // done or on_message returns false. A stream that breaks is opened again after the last event
  // that was seen: each event comes once, in order. `on_reconnect` (may be empty) is told why the
  // stream broke.
  absl::Status WatchJob(const std::string& name, int64_t after_sequence,
                        const std::function<bool(const v1::WatchJobResponse&)>& on_message,
                        const std::function<void(const absl::Status&)>& on_reconnect = {});

  // Writes the artifact into the file `path`, which appears whole or not at all.
  absl::Status DownloadJobArtifact(const std::string& name, const std::string& artifact,
                                   const std::string& path);

  // Calls on_chunk for each piece of an attempt's log, until its end (with follow: of the attempt)
  // or until on_chunk returns false. A stream that breaks is opened again where it was.
  absl::Status ReadJobLog(const v1::ReadJobLogRequest& request,
                          const std::function<bool(const v1::JobLogChunk&)>& on_chunk);

  // Uploads a local file. `sha256`: its hash, where it is known. This and the imports below send
  // what the server does not have yet of an earlier upload of the same files (UploadService). One
  // that breaks goes on by itself, for which an absent server is waited for as long as by a watch.
  absl::StatusOr<v1::Dataset> UploadDataset(const std::string& name, const std::string& path,
                                            const UploadObserver& observer = {},
                                            const std::string& sha256 = "");
  absl::StatusOr<v1::Dataset> GetDataset(const std::string& name);
  absl::StatusOr<v1::ListDatasetsResponse> ListDatasets(const v1::ListDatasetsRequest& request);
  absl::Status DeleteDataset(const std::string& name);
  absl::StatusOr<v1::PreviewDatasetResponse> PreviewDataset(
      const v1::PreviewDatasetRequest& request);

  absl::StatusOr<v1::Adapter> GetAdapter(const std::string& name);
  absl::StatusOr<v1::ListAdaptersResponse> ListAdapters(const v1::ListAdaptersRequest& request);
  // Writes the adapter's files below `directory`, which must not exist; it appears whole or not at
  // all.
  absl::Status DownloadAdapter(const v1::DownloadAdapterRequest& request,
                               const std::string& directory);
  // In the same way, the base model with the adapter merged into it.
  absl::Status MergeAdapter(const v1::MergeAdapterRequest& request, const std::string& directory);
  // All files of a PEFT folder, subfolders included.
  absl::StatusOr<v1::Adapter> ImportAdapter(const std::string& name, const std::string& base_model,
                                            const std::string& directory,
                                            const UploadObserver& observer = {});
  absl::Status DeleteAdapter(const std::string& name);
  // Calls on_message for each piece of text; returning false ends the call.
  absl::Status Generate(const v1::GenerateRequest& request,
                        const std::function<bool(const v1::GenerateResponse&)>& on_message);
  // The same of several texts, beside each other. What becomes of one is in its messages; the
  // status is that of the call.
  absl::Status GenerateBatch(
      const v1::GenerateBatchRequest& request,
      const std::function<bool(const v1::GenerateBatchResponse&)>& on_message);

  absl::StatusOr<v1::Model> GetModel(const std::string& name);
  absl::StatusOr<v1::ListModelsResponse> ListModels(const v1::ListModelsRequest& request);
  // The files of a Hugging Face folder that make a model: config, weights, tokenizer.
  absl::StatusOr<v1::Model> ImportModel(const std::string& name, const std::string& directory,
                                        const UploadObserver& observer = {});
  absl::Status DeleteModel(const std::string& name);

  absl::StatusOr<v1::Study> CreateStudy(v1::CreateStudyRequest request);
  absl::StatusOr<v1::Study> GetStudy(const std::string& name);
  absl::StatusOr<v1::ListStudiesResponse> ListStudies(const v1::ListStudiesRequest& request);
  absl::StatusOr<v1::Study> PauseStudy(const std::string& name);
  absl::StatusOr<v1::Study> ResumeStudy(const std::string& name);
  absl::StatusOr<v1::Study> CancelStudy(const std::string& name);
  absl::Status DeleteStudy(const std::string& name);
  // As WatchJob.
  absl::Status WatchStudy(const std::string& name, int64_t after_sequence,
                          const std::function<bool(const v1::WatchStudyResponse&)>& on_message,
                          const std::function<void(const absl::Status&)>& on_reconnect = {});

  absl::StatusOr<v1::ListWorkersResponse> ListWorkers(const v1::ListWorkersRequest& request);

 private:
  // Makes a stream's context known to CancelStreams for as long as it lives.
  class StreamScope;
  // Follows a log of events, as WatchJob says.
  template <typename Stub, typename Request, typename Response>
  absl::Status Follow(Stub& stub,
                      std::unique_ptr<grpc::ClientReader<Response>> (Stub::*method)(
                          grpc::ClientContext*, const Request&),
                      Request request, const std::function<bool(const Response&)>& on_message,
                      const std::function<void(const absl::Status&)>& on_reconnect);
  // Reads what is generated, as Generate says.
  template <typename Request, typename Response>
  absl::Status ReadTexts(std::unique_ptr<grpc::ClientReader<Response>> (
                             v1::AdapterService::Stub::*method)(grpc::ClientContext*,
                                                                const Request&),
                         const Request& request,
                         const std::function<bool(const Response&)>& on_message);
  UploadPatience upload_patience() const {
    return {options_.call_timeout, options_.patience, options_.watch_patience};
  }
  bool cancelled() ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  const std::unique_ptr<v1::DatasetService::Stub> datasets_;
  const std::unique_ptr<v1::AdapterService::Stub> adapters_;
  const std::unique_ptr<v1::ModelService::Stub> models_;
  const std::unique_ptr<v1::UploadService::Stub> uploads_;
  const std::unique_ptr<v1::StudyService::Stub> studies_;
  const std::unique_ptr<v1::WorkerService::Stub> workers_;
  Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
