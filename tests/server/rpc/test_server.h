#pragma once

// A whole server in this process: memory store, blobs in a temporary directory, real gRPC on free
// ports, a tiny model "tiny" and a data set "news" of 12 rows.

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/descriptor_limit.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "graft/v1/adapter.grpc.pb.h"
#include "graft/v1/dataset.grpc.pb.h"
#include "graft/v1/job.grpc.pb.h"
#include "graft/v1/model.grpc.pb.h"
#include "graft/worker/v1/worker.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "server/catalogue/imports.h"
#include "server/rpc/server.h"
#include "tests/fakes/temp_dir.h"
#include "tests/fakes/tiny_model.h"

namespace graft {

struct TestServerOptions {
  std::string store = "memory:";
  std::string artifacts;  // Empty: in a directory of its own.
  int64_t max_queued_jobs = 1000;
  size_t max_waiting_texts = 2;
  absl::Duration watch_heartbeat = absl::Seconds(10);
  absl::Duration lease_duration = absl::Seconds(60);
  absl::Duration first_retry_delay = absl::Milliseconds(1);
  AdmissionLimits limits;         // Of users.
  Clock* clock = &Clock::Real();  // The listeners'.
  int engine_threads = 2;         // 0: auto
};

inline std::string NewsRow(int i) {
  return absl::StrCat(R"({"id": "r)", i, R"(", "document": "Article )", i,
                      R"( tells.", "summary": "Short )", i, "\"}\n");
}

inline std::string NewsRows(int count) {
  std::string rows;
  for (int i = 1; i <= count; ++i) rows += NewsRow(i);
  return rows;
}

// A context whose call cannot hang a test for ever.
inline std::unique_ptr<grpc::ClientContext> CallContext() {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  return context;
}

class TestServer {
 public:
  explicit TestServer(const TestServerOptions& options = {}) {
    telemetry_ = std::make_unique<ServerTelemetry>(registry_, Clock::Real());
    StoreOptions store_options;
    store_options.max_queued_jobs = options.max_queued_jobs;
    store_options.lease_duration = options.lease_duration;
    store_options.first_retry_delay = options.first_retry_delay;
    store_options.on_commit = [this](absl::Duration time, int changes) {
      telemetry_->OnCommit(time, changes);
    };
    store_ = *OpenJobStore(options.store, std::move(store_options));
    const std::string artifacts =
        options.artifacts.empty() ? directory_.Path("artifacts") : options.artifacts;
    blobs_ = *FileBlobStore::Open(JoinPath(artifacts, "blobs"));
    publisher_ = *Publisher::Open(artifacts, *store_, *blobs_);
    logs_ = *JobLogs::Open(JoinPath(artifacts, "logs"));
    partials_ = *PartialUploads::Open(
        *blobs_, [store = store_.get()] { return store->RunningTime(); }, registry_);
    scheduler_ = std::make_unique<Scheduler>(*store_, Clock::Real());
    EXPECT_TRUE(WriteTinyModel(directory_.Path("models/tiny")).ok());
    ImportModelFolders(*store_, *blobs_, directory_.Path("models"), directory_.Path("models.json"));
    RpcServerOptions rpc;
    rpc.listen = "127.0.0.1:0";
    rpc.max_descriptors = RaiseDescriptorLimit().count;
    rpc.worker_listen = absl::StrCat("unix:", directory_.Path("workers.sock"));
    rpc.runtime.limits = options.limits;
    rpc.max_waiting_texts = options.max_waiting_texts;
    rpc.services.watch_heartbeat = options.watch_heartbeat;
    rpc.services.lease_duration = options.lease_duration;
    rpc.services.spec_defaults.threads = options.engine_threads;
    auto started = RpcServer::Start(rpc, {*options.clock, registry_, *store_, *blobs_, *publisher_,
                                          *logs_, *scheduler_, *telemetry_, *partials_});
    EXPECT_TRUE(started.ok()) << started.status();
    rpc_ = *std::move(started);
    telemetry_->RefreshAtScrape(registry_, *store_, rpc_->context().hub, rpc_->context().broker,
                                *scheduler_);
    channel_ = grpc::CreateChannel(rpc_->address(), grpc::InsecureChannelCredentials());
    jobs_ = v1::JobService::NewStub(channel_);
    datasets_ = v1::DatasetService::NewStub(channel_);
    adapters_ = v1::AdapterService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
    worker_channel_ =
        grpc::CreateChannel(rpc_->worker_address(), grpc::InsecureChannelCredentials());
    EXPECT_TRUE(Upload("news", NewsRows(12)).ok());
  }

  v1::JobService::Stub& jobs() { return *jobs_; }
  v1::DatasetService::Stub& datasets() { return *datasets_; }
  v1::AdapterService::Stub& adapters() { return *adapters_; }
  v1::ModelService::Stub& models() { return *models_; }
  std::shared_ptr<grpc::Channel> channel() { return channel_; }
  std::shared_ptr<grpc::Channel> worker_channel() { return worker_channel_; }
  JobStore& store() { return *store_; }
  FileBlobStore& blobs() { return *blobs_; }
  RpcServer& rpc() { return *rpc_; }
  Publisher& publisher() { return *publisher_; }
  JobLogs& logs() { return *logs_; }
  PartialUploads& partials() { return *partials_; }
  MetricRegistry& registry() { return registry_; }
  const TempDir& directory() { return directory_; }

  absl::StatusOr<v1::Dataset> Upload(const std::string& name, const std::string& bytes,
                                     v1::UploadDatasetRequest::Metadata metadata = {}) {
    const auto context = CallContext();
    v1::Dataset dataset;
    const auto writer = datasets_->UploadDataset(context.get(), &dataset);
    v1::UploadDatasetRequest message;
    metadata.set_name(name);
    *message.mutable_metadata() = metadata;
    writer->Write(message);
    for (size_t begin = 0; begin < bytes.size(); begin += 1000) {
      message.set_data(bytes.substr(begin, 1000));
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    const absl::Status status = FromGrpcStatus(writer->Finish());
    if (!status.ok()) return status;
    return dataset;
  }

  absl::StatusOr<v1::Job> Create(const v1::CreateJobRequest& request) {
    const auto context = CallContext();
    v1::Job job;
    const absl::Status status = FromGrpcStatus(jobs_->CreateJob(context.get(), request, &job));
    if (!status.ok()) return status;
    return job;
  }

  absl::StatusOr<v1::Job> Get(const std::string& name) {
    const auto context = CallContext();
    v1::GetJobRequest request;
    request.set_name(name);
    v1::Job job;
    const absl::Status status = FromGrpcStatus(jobs_->GetJob(context.get(), request, &job));
    if (!status.ok()) return status;
    return job;
  }

  absl::StatusOr<v1::Job> Cancel(const std::string& name) {
    const auto context = CallContext();
    v1::CancelJobRequest request;
    request.set_name(name);
    v1::Job job;
    const absl::Status status = FromGrpcStatus(jobs_->CancelJob(context.get(), request, &job));
    if (!status.ok()) return status;
    return job;
  }

 private:
  const TempDir directory_;
  MetricRegistry registry_;
  std::unique_ptr<ServerTelemetry> telemetry_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<FileBlobStore> blobs_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<JobLogs> logs_;
  std::unique_ptr<PartialUploads> partials_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<RpcServer> rpc_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<grpc::Channel> worker_channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::DatasetService::Stub> datasets_;
  std::unique_ptr<v1::AdapterService::Stub> adapters_;
  std::unique_ptr<v1::ModelService::Stub> models_;
};

// A LoRA job on "tiny" and "news", valid as it is.
inline v1::CreateJobRequest LoraJob(const std::string& display_name = "a job") {
  v1::CreateJobRequest request;
  request.mutable_job()->set_display_name(display_name);
  v1::FineTuneSpec* spec = request.mutable_job()->mutable_spec()->mutable_fine_tune();
  spec->set_base_model("tiny");
  spec->mutable_data()->set_train("news");
  spec->mutable_data()->set_validation_fraction(0.25);
  spec->mutable_data()->set_max_source_tokens(24);
  spec->mutable_data()->set_max_target_tokens(16);
  spec->mutable_method()->mutable_lora()->set_rank(2);
  spec->mutable_evaluation()->set_max_new_tokens(8);
  return request;
}

}  // namespace graft
