#include "server/rpc/server.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_state.h"
#include "common/rpc/deadline.h"
#include "common/telemetry/exposer.h"
#include "common/telemetry/log.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "server/catalogue/study_files.h"

namespace graft {
namespace {

// Watchers look this often whether a heartbeat of theirs is due.
absl::Duration TickOf(absl::Duration heartbeat) {
  return std::clamp(heartbeat / 4, absl::Milliseconds(10), absl::Seconds(5));
}

void Configure(grpc::ServerBuilder& builder) {
  // Else a second server would share the port in silence.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(static_cast<int>(kMaxMessageBytes));
  // A peer that is cut off is noticed, and what its streams hold is free again.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
}

// Starts what `builder` holds on the workers' address, and returns it with the port bound.
absl::StatusOr<std::string> Bind(grpc::ServerBuilder& builder, const std::string& listen,
                                 std::unique_ptr<grpc::Server>* server) {
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  *server = builder.BuildAndStart();
  if (*server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen,
                     ": the port is in use, or this is no address of this machine"));
  }
  if (absl::StartsWith(listen, "unix:")) return listen;
  ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(listen));
  const bool v6 = absl::StrContains(parsed.host, ':');
  return absl::StrCat(v6 ? "[" : "", parsed.host, v6 ? "]" : "", ":", port);
}

// "attempt failed" is what people look for in a log: with its class and all that is known of it.
void LogChange(const JobChange& change) {
  if (change.failure_class != v1::FAILURE_CLASS_UNSPECIFIED) {
    const bool over = change.state == v1::JOB_STATE_FAILED;
    LogJob(over ? LogLevel::kError : LogLevel::kWarning, change.job, "attempt failed",
           {{"attempt", absl::StrCat(change.attempt)},
            {"class", FailureClassName(change.failure_class)},
            {"worker", change.worker},
            {"error", change.reason}});
  } else if (change.end != AttemptEnd::kNone && change.state == v1::JOB_STATE_QUEUED) {
    const bool returned = change.end == AttemptEnd::kReturned;
    LogJob(returned ? LogLevel::kInfo : LogLevel::kWarning, change.job,
           returned || change.end == AttemptEnd::kWorkerFault ? "handed back" : "queued again",
           {{"worker", change.worker}, {"reason", change.reason}});
  }
  LogJob(LogLevel::kInfo, change.job, "state",
         {{"from", StateName(change.previous_state)},
          {"to", StateName(change.state)},
          {"worker", change.worker}});
}

}  // namespace

RpcRuntimeOptions WorkerRuntime() {
  RpcRuntimeOptions options;
  options.name = "workers";
  options.limits = WorkerLimits();
  return options;
}

RpcServer::RpcServer(const RpcServerOptions& options, const RpcServerParts& parts)
    : hub_(parts.clock),
      broker_(hub_, parts.clock, parts.telemetry.texts(), options.max_waiting_texts),
      measurements_(hub_, parts.clock, kMaxMeasured),
      call_metrics_(parts.registry),
      runtime_(call_metrics_, parts.clock, options.runtime),
      worker_runtime_(call_metrics_, parts.clock, options.worker_runtime),
      ticker_("watch-ticker", parts.clock, TickOf(options.services.watch_heartbeat)),
      tokenizers_(parts.publisher),
      queue_(parts.store, parts.clock, parts.scheduler),
      data_checks_(parts.store, parts.blobs, parts.clock),
      context_{options.services,
               parts.clock,
               parts.store,
               parts.scheduler,
               queue_,
               runtime_,
               worker_runtime_,
               hub_,
               broker_,
               measurements_,
               ticker_,
               {parts.store, parts.blobs, parts.publisher, tokenizers_, parts.partials},
               data_checks_,
               parts.logs,
               parts.telemetry},
      jobs_(context_),
      datasets_(context_),
      adapters_(context_),
      models_(context_),
      uploads_(context_),
      worker_list_(context_),
      studies_(context_),
      workers_(context_) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const RpcServerOptions& options,
                                                            const RpcServerParts& parts) {
  // Both are switches of the whole process, read when a server is built.
  grpc::EnableDefaultHealthCheckService(true);
  if (options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::unique_ptr<RpcServer> server(new RpcServer(options, parts));
  parts.scheduler.SetPresentWorkers([&hub = server->hub_] {
    std::vector<PresentWorker> present;
    for (const auto& worker : hub.workers()) {
      // For jobs one that only serves is not there.
      if (worker.serves_only) continue;
      present.push_back({worker.id, worker.free_slots, worker.slots});
    }
    return present;
  });
  server->subscription_ = parts.store.Subscribe(
      "", [raw = server.get()](const JobChange& change) { raw->OnChange(change); });
  server->study_loop_ = std::make_unique<StudyLoop>(
      parts.store, parts.clock,
      [&blobs = parts.blobs](const v1::Study& study) { return MakeStudyFiles(blobs, study); },
      [raw = server.get()](const std::string& study, const StudyAdvance& advance) {
        raw->OnStudy(study, advance);
      });
  server->context_.study_loop = server->study_loop_.get();
  RETURN_IF_ERROR(server->Listen(options));
  server->scheduler_loop_ = std::make_unique<SchedulerLoop>(
      parts.store, parts.clock, parts.scheduler,
      [raw = server.get()](const Upkeep& upkeep) { raw->OnUpkeep(upkeep); });
  return server;
}

absl::Status RpcServer::Listen(const RpcServerOptions& options) {
  grpc::ServerBuilder users;
  Configure(users);
  users.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxCallsOfConnection);
  users.AddChannelArgument(
      GRPC_ARG_MAX_CONNECTION_IDLE_MS,
      static_cast<int>(absl::ToInt64Milliseconds(options.runtime.limits.connection_idle)));
  users.RegisterService(&jobs_);
  users.RegisterService(&datasets_);
  users.RegisterService(&adapters_);
  users.RegisterService(&models_);
  users.RegisterService(&uploads_);
  users.RegisterService(&worker_list_);
  users.RegisterService(&studies_);
  acceptor_ = users.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  user_server_ = users.BuildAndStart();
  if (user_server_ == nullptr) return absl::InternalError("cannot start the users' server");
  ASSIGN_OR_RETURN(listener_,
                   Listener::Open({options.listen, options.max_descriptors}, [this](int fd) {
                     grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters taken;
                     taken.fd = fd;
                     acceptor_->HandleNewConnection(&taken);
                   }));
  address_ = listener_->address();
  grpc::ServerBuilder workers;
  Configure(workers);
  workers.RegisterService(&workers_);
  ASSIGN_OR_RETURN(worker_address_, Bind(workers, options.worker_listen, &worker_server_));
  return absl::OkStatus();
}

std::shared_ptr<grpc::Channel> RpcServer::InProcessChannel() {
  grpc::ChannelArguments arguments;
  // Answers may be as large as they are: their readers have bounds of their own.
  arguments.SetMaxReceiveMessageSize(-1);
  return user_server_->InProcessChannel(arguments);
}

RpcServer::~RpcServer() { Stop(absl::ZeroDuration()); }

void RpcServer::Stop(absl::Duration grace) {
  if (user_server_ != nullptr) {
    user_server_->GetHealthCheckService()->SetServingStatus(false);
  }
  listener_ = nullptr;
  runtime_.Drain();
  worker_runtime_.Drain();
  const auto deadline = DeadlineAfter(grace);
  for (auto* server : {&user_server_, &worker_server_}) {
    if (*server == nullptr) continue;
    (*server)->Shutdown(deadline);
    (*server)->Wait();
    server->reset();
  }
  study_loop_ = nullptr;
  scheduler_loop_ = nullptr;
  subscription_ = nullptr;
  context_.scheduler.SetPresentWorkers(nullptr);
}

void RpcServer::OnStudy(const std::string& study, const StudyAdvance& advance) {
  if (!advance.done) return;
  context_.telemetry.OnStudyDone(advance.state);
  Log(LogLevel::kInfo, "study done",
      {{"study", study}, {"adapter", advance.adapter}, {"model", advance.model}});
  Publisher& publisher = context_.catalogue.publisher;
  // What fails here is made by the next Refresh.
  if (!advance.adapter.empty()) {
    const absl::StatusOr<v1::Adapter> adapter = context_.store.GetAdapter(advance.adapter);
    if (adapter.ok()) (void)publisher.Show(*adapter);
  }
  if (!advance.model.empty()) {
    const absl::StatusOr<v1::Model> model = context_.store.GetModel(advance.model);
    if (model.ok()) (void)publisher.Show(*model);
  }
}

void RpcServer::OnUpkeep(const Upkeep& upkeep) {
  if (!upkeep.status.ok()) {
    Log(LogLevel::kError, "upkeep", {{"error", upkeep.status.ToString()}});
  }
  for (const std::string& job : upkeep.expired) {
    LogJob(LogLevel::kWarning, job, "lease expired");
    context_.telemetry.OnLeaseExpired();
  }
  for (const auto& [worker, duration] : upkeep.set_aside) {
    Log(LogLevel::kWarning, "worker set aside: its attempts come to nothing",
        {{"worker", worker}, {"for", absl::FormatDuration(duration)}});
  }
  for (const HeldJobView& job : upkeep.preempted) {
    LogJob(LogLevel::kInfo, job.name, "makes way",
           {{"for", job.preempted_by}, {"worker", job.worker}});
    context_.telemetry.OnPreempted();
    worker::v1::Command command;
    command.mutable_pause_job()->set_job(job.name);
    command.mutable_pause_job()->set_lease_epoch(job.lease_epoch);
    hub_.Send(job.worker, std::move(command));
  }
  if (upkeep.work_available) hub_.AnnounceWork();
}

void RpcServer::OnChange(const JobChange& change) {
  context_.telemetry.OnChange(change);
  if (change.deleted) return;
  const bool changed_state = change.state != change.previous_state;
  if (!changed_state && !change.cancel_hastened) return;
  if (changed_state) LogChange(change);
  if (change.state == v1::JOB_STATE_QUEUED) hub_.AnnounceWork();
  worker::v1::Command command;
  const bool overdue = change.failure_class == v1::FAILURE_CLASS_DEADLINE && !change.worker.empty();
  if (change.state == v1::JOB_STATE_CANCELLING || overdue) {
    command.mutable_cancel_job()->set_job(change.job);
    command.mutable_cancel_job()->set_lease_epoch(change.lease_epoch);
    command.mutable_cancel_job()->set_save_checkpoint(change.cancel_saves);
    hub_.Send(change.worker, std::move(command));
  } else if (change.state == v1::JOB_STATE_PAUSING) {
    command.mutable_pause_job()->set_job(change.job);
    command.mutable_pause_job()->set_lease_epoch(change.lease_epoch);
    hub_.Send(change.worker, std::move(command));
  }
}

}  // namespace graft
