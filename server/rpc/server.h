#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/descriptor_limit.h"
#include "common/telemetry/metrics.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "server/catalogue/data_checks.h"
#include "server/catalogue/job_logs.h"
#include "server/rpc/adapter_service.h"
#include "server/rpc/dataset_service.h"
#include "server/rpc/job_service.h"
#include "server/rpc/listener.h"
#include "server/rpc/model_service.h"
#include "server/rpc/service_context.h"
#include "server/rpc/study_service.h"
#include "server/rpc/upload_service.h"
#include "server/rpc/worker_list_service.h"
#include "server/rpc/worker_service.h"
#include "server/scheduler/queue_view.h"
#include "server/scheduler/scheduler_loop.h"
#include "server/scheduler/study_loop.h"

namespace graft {

RpcRuntimeOptions WorkerRuntime();

struct RpcServerOptions {
  // Users' listener, "host:port"; port 0 takes a free one.
  std::string listen = "127.0.0.1:50051";
  // Workers' listener: "unix:PATH", or "host:port".
  std::string worker_listen;
  // What this process may open: RaiseDescriptorLimit().count.
  int max_descriptors = kUsualDescriptors;
  bool reflection = false;
  // Texts that wait for a worker at the most.
  size_t max_waiting_texts = 2048;
  // Of users' calls and of workers'.
  RpcRuntimeOptions runtime;
  RpcRuntimeOptions worker_runtime = WorkerRuntime();
  ServiceOptions services;
};

// What the server is made of; owned by the caller, who destroys it after the RpcServer.
struct RpcServerParts {
  Clock& clock;
  MetricRegistry& registry;
  JobStore& store;
  FileBlobStore& blobs;
  Publisher& publisher;
  JobLogs& logs;
  Scheduler& scheduler;
  ServerTelemetry& telemetry;
  PartialUploads& partials;
};

// The two gRPC listeners with all services, health and (if asked for) reflection:
//
//   users    JobService DatasetService AdapterService ModelService UploadService WorkerService
//            StudyService (graft.v1)
//   workers  WorkerService (graft.worker.v1)
class RpcServer {
 public:
  // UNAVAILABLE: a listener cannot be bound (in use, or not an address of this machine).
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const RpcServerOptions& options,
                                                          const RpcServerParts& parts);
  // Stops without grace, unless stopped before.
  ~RpcServer();

  // With the ports really bound.
  const std::string& address() const { return address_; }
  const std::string& worker_address() const { return worker_address_; }
  ServiceContext& context() { return context_; }
  // To the users' services, for the gateway. Its calls end with the server.
  std::shared_ptr<grpc::Channel> InProcessChannel();
  // Blocks until the scheduler has made a whole round. Not during or after Stop.
  void AwaitScheduler() { scheduler_loop_->AwaitTick(); }

  // Drains: health says NOT_SERVING, nothing more is leased, streams end with UNAVAILABLE, running
  // calls may end within `grace` and are cancelled then. Blocks until all of them are over. Safe to
  // call twice.
  void Stop(absl::Duration grace);

 private:
  RpcServer(const RpcServerOptions& options, const RpcServerParts& parts);
  absl::Status Listen(const RpcServerOptions& options);
  // The store has committed a change: tell whom it concerns.
  void OnChange(const JobChange& change);
  // Leases have ended, or back-offs.
  void OnUpkeep(const Upkeep& upkeep);
  // A study was looked at.
  void OnStudy(const std::string& study, const StudyAdvance& advance);

  WorkerHub hub_;
  GenerationBroker broker_;
  MeasurementBroker measurements_;
  CallMetrics call_metrics_;
  RpcRuntime runtime_;
  RpcRuntime worker_runtime_;
  Ticker ticker_;
  TokenizerCache tokenizers_;
  QueueView queue_;
  DataChecks data_checks_;
  ServiceContext context_;
  JobService jobs_;
  DatasetService datasets_;
  AdapterService adapters_;
  ModelService models_;
  UploadService uploads_;
  WorkerListService worker_list_;
  StudyService studies_;
  WorkerService workers_;
  std::unique_ptr<Subscription> subscription_;
  std::unique_ptr<SchedulerLoop> scheduler_loop_;
  std::unique_ptr<StudyLoop> study_loop_;
  std::string address_;
  std::string worker_address_;
  std::unique_ptr<grpc::Server> user_server_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::Server> worker_server_;
};

}  // namespace graft
