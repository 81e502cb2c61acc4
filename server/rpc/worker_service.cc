#include "server/rpc/worker_service.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"
#include "server/catalogue/blob_transfer.h"
#include "server/catalogue/lease_inputs.h"
#include "server/rpc/streams.h"
#include "server/serving/generation_streams.h"

namespace graft {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using worker::v1::Command;

namespace {

WorkerRef RefOf(const worker::v1::WorkerIdentity& worker) {
  return {worker.id(), worker.instance()};
}

std::optional<Abilities> AbilitiesOf(const worker::v1::LeaseJobRequest& request) {
  if (!request.has_capabilities() && request.methods().empty()) return std::nullopt;
  const worker::v1::Capabilities& capabilities = request.capabilities();
  return Abilities{{capabilities.devices().begin(), capabilities.devices().end()},
                   {capabilities.precisions().begin(), capabilities.precisions().end()},
                   capabilities.cpu_capability(),
                   {request.methods().begin(), request.methods().end()}};
}

template <typename Request>
LeaseRef LeaseOf(const Request& request) {
  return {request.job(), request.lease_epoch(), RefOf(request.worker())};
}

// The stream of one connected worker: the welcome, then what the hub has for it.
class CommandSource : public MessageSource<Command> {
 public:
  CommandSource(ServiceContext& context, std::shared_ptr<WorkerHub::Link> link, Command welcome)
      : context_(context), link_(std::move(link)), welcome_(std::move(welcome)) {}

  ~CommandSource() override {
    const std::string& worker = link_->hello().worker().id();
    if (!context_.hub.Disconnect(link_)) return;
    Log(LogLevel::kInfo, "worker disconnected", {{"worker", worker}});
    context_.broker.WorkerLost(worker);
    context_.measurements.WorkerLost(worker);
  }

  absl::StatusOr<SourceState> Next(Command* command) override {
    if (!welcomed_) {
      welcomed_ = true;
      *command = welcome_;
      return SourceState::kMessage;
    }
    return link_->Next(command);
  }

 private:
  ServiceContext& context_;
  const std::shared_ptr<WorkerHub::Link> link_;
  const Command welcome_;
  bool welcomed_ = false;
};

}  // namespace

grpc::ServerWriteReactor<Command>* WorkerService::Connect(
    CallbackServerContext* call, const worker::v1::ConnectRequest* request) {
  return new ServerStream<Command>(
      context_.worker_runtime, call, *request,
      {"WorkerService.Connect", "worker.connect", request->worker().id(), Lane::kShort,
       /*endless=*/true},
      [this, request](const Caller&, std::shared_ptr<StreamWaker> waker) {
        return OpenCommands(*request, std::move(waker));
      });
}

absl::StatusOr<std::unique_ptr<MessageSource<Command>>> WorkerService::OpenCommands(
    const worker::v1::ConnectRequest& request, std::shared_ptr<StreamWaker> waker) {
  ASSIGN_OR_RETURN(std::shared_ptr<WorkerHub::Link> link,
                   context_.hub.Connect(request, std::move(waker)));
  context_.telemetry.OnConnected(request, context_.options.lease_duration);
  Command command;
  Command::Welcome* welcome = command.mutable_welcome();
  const ServiceOptions& options = context_.options;
  *welcome->mutable_heartbeat_interval() = ToProtoDuration(options.worker_heartbeat);
  *welcome->mutable_lease_duration() = ToProtoDuration(options.lease_duration);
  *welcome->mutable_lease_margin() = ToProtoDuration(options.lease_margin);
  welcome->set_blobs_directory(JoinPath(context_.catalogue.blobs.root(), "objects"));
  welcome->set_default_threads(options.spec_defaults.threads);
  auto source = std::make_unique<CommandSource>(context_, std::move(link), std::move(command));
  // A process that started anew holds nothing of what its predecessor held.
  ASSIGN_OR_RETURN(const std::vector<std::string> released,
                   context_.store.ReleaseOtherInstances(RefOf(request.worker())));
  for (const std::string& job : released) {
    LogJob(LogLevel::kWarning, job, "lease ended: its worker started anew",
           {{"worker", request.worker().id()}});
  }
  Log(LogLevel::kInfo, "worker connected",
      {{"worker", request.worker().id()},
       {"host", request.hostname()},
       {"slots", absl::StrCat(request.slots())},
       {"version", request.version()}});
  context_.broker.Dispatch();
  return source;
}

grpc::ServerUnaryReactor* WorkerService::Heartbeat(CallbackServerContext* call,
                                                   const worker::v1::HeartbeatRequest* request,
                                                   worker::v1::HeartbeatResponse* response) {
  return context_.worker_runtime.Unary(
      call, *request,
      {"WorkerService.Heartbeat", "worker.heartbeat", request->worker().id(), Lane::kUrgent},
      [=, this](const Caller&) { return Renew(*request, response); });
}

absl::Status WorkerService::Renew(const worker::v1::HeartbeatRequest& request,
                                  worker::v1::HeartbeatResponse* response) {
  std::vector<std::pair<std::string, int64_t>> leases;
  for (const auto& held : request.leases()) leases.emplace_back(held.job(), held.lease_epoch());
  ASSIGN_OR_RETURN(const std::vector<LeaseRenewal> renewals,
                   context_.store.RenewLeases(RefOf(request.worker()), leases));
  for (const LeaseRenewal& renewal : renewals) {
    auto* answer = response->add_renewals();
    answer->set_job(renewal.job);
    answer->set_lease_epoch(renewal.lease_epoch);
    answer->set_held(renewal.held);
    answer->set_cancel(renewal.cancel);
    answer->set_cancel_saves(renewal.cancel_saves);
    answer->set_pause(renewal.pause);
    answer->set_checkpoint_step(renewal.checkpoint_step);
  }
  *response->mutable_lease_duration() = ToProtoDuration(context_.options.lease_duration);
  context_.hub.Seen(request.worker().id(), request.free_slots(),
                    {{request.idle_base_models().begin(), request.idle_base_models().end()},
                     {request.busy_base_models().begin(), request.busy_base_models().end()}});
  context_.telemetry.OnHeartbeat(request, context_.options.lease_duration);
  context_.broker.Dispatch();
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* WorkerService::LeaseJob(CallbackServerContext* call,
                                                  const worker::v1::LeaseJobRequest* request,
                                                  worker::v1::LeaseJobResponse* response) {
  return context_.worker_runtime.Unary(
      call, *request,
      {"WorkerService.LeaseJob", "worker.lease", request->worker().id(), Lane::kUrgent},
      [=, this](const Caller&) { return Lease(*request, response); });
}

absl::Status WorkerService::Lease(const worker::v1::LeaseJobRequest& request,
                                  worker::v1::LeaseJobResponse* response) {
  // A server that drains starts nothing new.
  if (context_.worker_runtime.draining()) return absl::OkStatus();
  const WorkerRef worker = RefOf(request.worker());
  ASSIGN_OR_RETURN(const std::optional<Claim> claim,
                   context_.scheduler.LeaseJob(worker, request.request_id(), AbilitiesOf(request)));
  if (!claim.has_value()) return absl::OkStatus();
  const absl::Status filled = FillLease(context_.store, *claim, response->mutable_lease());
  if (!filled.ok()) {
    response->clear_lease();
    const AttemptOutcome outcome = OutcomeOfUnfilled(filled);
    RETURN_IF_ERROR(
        context_.store.FinishAttempt({claim->job.name(), claim->lease_epoch, worker}, 0, outcome)
            .status());
    if (!std::holds_alternative<AttemptReturned>(outcome)) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("cannot read what ", claim->job.name(), " needs: ", filled.message()));
  }
  *response->mutable_lease()->mutable_lease_duration() =
      ToProtoDuration(context_.options.lease_duration);
  context_.hub.AdjustFreeSlots(worker.id, -1);
  context_.telemetry.OnLeased(claim->job);
  LogJob(LogLevel::kInfo, claim->job.name(), "leased",
         {{"worker", worker.id},
          {"attempt", absl::StrCat(claim->attempt)},
          {"lease_epoch", absl::StrCat(claim->lease_epoch)}});
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* WorkerService::ReportEvents(
    CallbackServerContext* call, const worker::v1::ReportEventsRequest* request,
    worker::v1::ReportEventsResponse* response) {
  return context_.worker_runtime.Unary(
      call, *request, {"WorkerService.ReportEvents", "worker.report", request->job()},
      [=, this](const Caller&) { return Report(*request, response); });
}

absl::Status WorkerService::Report(const worker::v1::ReportEventsRequest& request,
                                   worker::v1::ReportEventsResponse* response) {
  EventBatch batch;
  batch.number = request.batch();
  batch.events.assign(request.events().begin(), request.events().end());
  batch.stage = request.stage();
  batch.step = request.step();
  batch.total_steps = request.total_steps();
  batch.epoch = request.epoch();
  batch.eta_seconds = request.eta_seconds();
  batch.stage_done = request.stage_done();
  batch.stage_total = request.stage_total();
  ASSIGN_OR_RETURN(const int64_t stored, context_.store.AppendEvents(LeaseOf(request), batch));
  context_.telemetry.OnEvents(request.job(), request.events());
  response->set_acknowledged_batch(stored);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* WorkerService::CommitCheckpoint(
    CallbackServerContext* call, const worker::v1::CommitCheckpointRequest* request,
    google::protobuf::Empty* response) {
  return context_.worker_runtime.Unary(
      call, *request, {"WorkerService.CommitCheckpoint", "worker.checkpoint", request->job()},
      [=, this](const Caller&) { return Checkpoint(*request); });
}

absl::Status WorkerService::Checkpoint(const worker::v1::CommitCheckpointRequest& request) {
  const std::vector<v1::Artifact> files(request.files().begin(), request.files().end());
  RETURN_IF_ERROR(context_.catalogue.publisher.CheckUploaded(files));
  return context_.store.CommitCheckpoint(LeaseOf(request),
                                         {request.step(), files, request.execution()});
}

grpc::ServerUnaryReactor* WorkerService::FinishAttempt(
    CallbackServerContext* call, const worker::v1::FinishAttemptRequest* request,
    worker::v1::FinishAttemptResponse* response) {
  return context_.worker_runtime.Unary(
      call, *request, {"WorkerService.FinishAttempt", "worker.finish", request->job(), Lane::kLong},
      [=, this](const Caller& caller) { return Finish(*request, caller, response); });
}

absl::Status WorkerService::Finish(const worker::v1::FinishAttemptRequest& request,
                                   const Caller& caller,
                                   worker::v1::FinishAttemptResponse* response) {
  ASSIGN_OR_RETURN(const OneAtATime::Turn turn, finishing_.Enter(request.job(), caller.gone));
  AttemptOutcome outcome = AttemptCancelled{};
  switch (request.outcome_case()) {
    case worker::v1::FinishAttemptRequest::kSucceeded: {
      ASSIGN_OR_RETURN(outcome, context_.catalogue.publisher.PrepareOutcome(
                                    LeaseOf(request), request.succeeded(), caller.gone));
      break;
    }
    case worker::v1::FinishAttemptRequest::kFailed:
      outcome = AttemptFailed{request.failed().error(), request.failed().failure_class(),
                              request.failed().cause()};
      break;
    case worker::v1::FinishAttemptRequest::kCancelled:
      break;
    case worker::v1::FinishAttemptRequest::kPaused:
      outcome = AttemptPaused{};
      break;
    case worker::v1::FinishAttemptRequest::kReturned:
      outcome = AttemptReturned{.reason = request.returned().reason(),
                                .worker_fault = request.returned().worker_fault(),
                                .bystander = request.returned().bystander()};
      break;
    case worker::v1::FinishAttemptRequest::OUTCOME_NOT_SET:
      return FieldViolation("outcome",
                            "one of succeeded, failed, cancelled, returned, paused must be set");
  }
  ASSIGN_OR_RETURN(const v1::JobState state,
                   context_.store.FinishAttempt(LeaseOf(request), request.last_batch(), outcome));
  response->set_state(state);
  if (state == v1::JOB_STATE_SUCCEEDED) context_.catalogue.publisher.ShowResult(request.job());
  context_.hub.AdjustFreeSlots(request.worker().id(), +1);
  context_.broker.Dispatch();
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* WorkerService::AppendLog(CallbackServerContext* call,
                                                   const worker::v1::AppendLogRequest* request,
                                                   worker::v1::AppendLogResponse* response) {
  return context_.worker_runtime.Unary(
      call, *request, {"WorkerService.AppendLog", "worker.log", request->job(), Lane::kBulk},
      [=, this](const Caller&) { return Append(*request, response); });
}

grpc::ServerUnaryReactor* WorkerService::ReportMeasurement(
    CallbackServerContext* call, const worker::v1::ReportMeasurementRequest* request,
    google::protobuf::Empty* response) {
  return context_.worker_runtime.Unary(
      call, *request, {"WorkerService.ReportMeasurement", "worker.measure", request->id()},
      [=, this](const Caller&) { return context_.measurements.Report(*request); });
}

absl::Status WorkerService::Append(const worker::v1::AppendLogRequest& request,
                                   worker::v1::AppendLogResponse* response) {
  if (request.stream() != v1::JOB_LOG_STREAM_ENGINE &&
      request.stream() != v1::JOB_LOG_STREAM_WORKER) {
    return FieldViolation("stream", "is none that is known here");
  }
  if (request.offset_bytes() < 0) return FieldViolation("offset_bytes", "must not be negative");
  if (request.data().size() > kMaxAppendedLogBytes) {
    return FieldViolation("data", absl::StrCat("has ", request.data().size(), " bytes; at most ",
                                               kMaxAppendedLogBytes, " are allowed"));
  }
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(request.job(), "job"));
  ASSIGN_OR_RETURN(const v1::Job job, context_.store.GetJob(JobName(id)));
  for (const v1::Attempt& attempt : job.attempts()) {
    if (attempt.number() != request.attempt() || attempt.worker() != request.worker().id())
      continue;
    ASSIGN_OR_RETURN(const int64_t end,
                     context_.logs.Append({id, request.attempt(), request.stream()},
                                          request.offset_bytes(), request.data()));
    response->set_end_bytes(end);
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("attempt ", request.attempt(), " of ",
                                                    job.name(), " is none of worker ",
                                                    request.worker().id(), "'s"));
}

grpc::ServerUnaryReactor* WorkerService::HasBlobs(CallbackServerContext* call,
                                                  const worker::v1::HasBlobsRequest* request,
                                                  worker::v1::HasBlobsResponse* response) {
  return context_.worker_runtime.Unary(
      call, *request, {"WorkerService.HasBlobs", "worker.has_blobs", "", Lane::kBulk},
      [=, this](const Caller&) { return FindMissing(*request, response); });
}

absl::Status WorkerService::FindMissing(const worker::v1::HasBlobsRequest& request,
                                        worker::v1::HasBlobsResponse* response) {
  if (request.sha256_size() > kMaxHasBlobs) {
    return FieldViolation("sha256", absl::StrCat("has more than ", kMaxHasBlobs, " entries"));
  }
  for (int i = 0; i < request.sha256_size(); ++i) {
    const std::string& sha256 = request.sha256(i);
    if (!IsSha256Hex(sha256)) {
      return FieldViolation(absl::StrCat("sha256[", i, "]"),
                            "must be 64 lower-case hexadecimal digits");
    }
    absl::Status found = context_.catalogue.blobs.Keep(sha256).status();
    if (found.ok()) found = context_.catalogue.blobs.Verify(sha256);
    // One that is corrupt is mended by being uploaded.
    if (absl::IsNotFound(found) || absl::IsDataLoss(found)) {
      response->add_missing(sha256);
    } else if (!found.ok()) {
      return found;
    }
  }
  return absl::OkStatus();
}

grpc::ServerReadReactor<worker::v1::UploadBlobRequest>* WorkerService::UploadBlob(
    CallbackServerContext* call, google::protobuf::Empty* response) {
  return new ClientStream<worker::v1::UploadBlobRequest>(
      context_.worker_runtime, call, {"WorkerService.UploadBlob", "worker.upload", "", Lane::kBulk},
      [this](const Caller&)
          -> absl::StatusOr<std::unique_ptr<MessageSink<worker::v1::UploadBlobRequest>>> {
        return std::make_unique<BlobUploadSink>(context_.catalogue.blobs);
      });
}

grpc::ServerWriteReactor<worker::v1::BlobChunk>* WorkerService::FetchBlob(
    CallbackServerContext* call, const worker::v1::FetchBlobRequest* request) {
  return new ServerStream<worker::v1::BlobChunk>(
      context_.worker_runtime, call, *request,
      {"WorkerService.FetchBlob", "worker.fetch", request->sha256(), Lane::kBulk},
      [this, request](const Caller&, const std::shared_ptr<StreamWaker>&)
          -> absl::StatusOr<std::unique_ptr<MessageSource<worker::v1::BlobChunk>>> {
        return BlobFetchSource::Open(context_.catalogue.blobs, *request);
      });
}

grpc::ServerReadReactor<worker::v1::ReportGenerationRequest>* WorkerService::ReportGeneration(
    CallbackServerContext* call, google::protobuf::Empty* response) {
  return new ClientStream<worker::v1::ReportGenerationRequest>(
      context_.worker_runtime, call, {"WorkerService.ReportGeneration", "worker.generation", ""},
      [this](const Caller&)
          -> absl::StatusOr<std::unique_ptr<MessageSink<worker::v1::ReportGenerationRequest>>> {
        return std::make_unique<GenerationSink>(context_.broker);
      });
}

}  // namespace graft
