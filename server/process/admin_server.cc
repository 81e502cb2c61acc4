#include "server/process/admin_server.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rpc/deadline.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"
#include "grpcpp/security/server_credentials.h"

namespace graft {
namespace {

constexpr absl::Duration kProgressInterval = absl::Milliseconds(200);

template <typename Report, typename Response>
grpc::Status Answer(const absl::StatusOr<Report>& report, grpc::ServerWriter<Response>* writer) {
  if (!report.ok()) return ToGrpcStatus(report.status());
  Response response;
  *response.mutable_report() = *report;
  writer->Write(response);
  return grpc::Status::OK;
}

void LogBackup(const std::string& to, const absl::StatusOr<admin::v1::BackUpReport>& report) {
  if (!report.ok()) {
    Log(LogLevel::kWarning, "no backup made", {{"to", to}, {"error", report.status().ToString()}});
    return;
  }
  Log(report->missing().empty() ? LogLevel::kInfo : LogLevel::kError, "backup made",
      {{"to", to},
       {"jobs", absl::StrCat(report->jobs())},
       {"blobs", absl::StrCat(report->blobs())},
       {"missing", absl::StrCat(report->missing_size())}});
}

}  // namespace

template <typename Response>
OperationProgress AdminService::ProgressTo(grpc::ServerContext* context,
                                           grpc::ServerWriter<Response>* writer) {
  return [this, context, writer,
          next = clock_.Boottime()](const admin::v1::Progress& progress) mutable {
    if (context->IsCancelled()) return false;
    if (clock_.Boottime() < next) return true;
    next = clock_.Boottime() + kProgressInterval;
    Response response;
    *response.mutable_progress() = progress;
    return writer->Write(response);
  };
}

grpc::Status AdminService::Check(grpc::ServerContext* context,
                                 const admin::v1::CheckRequest* request,
                                 grpc::ServerWriter<admin::v1::CheckResponse>* writer) {
  const auto report = operations_.Check(*request, ProgressTo(context, writer));
  if (report.ok() && report->problem_count() > 0) {
    Log(LogLevel::kError, "a check found problems",
        {{"count", absl::StrCat(report->problem_count())}, {"first", report->problems(0)}});
  }
  return Answer(report, writer);
}

grpc::Status AdminService::BackUp(grpc::ServerContext* context,
                                  const admin::v1::BackUpRequest* request,
                                  grpc::ServerWriter<admin::v1::BackUpResponse>* writer) {
  Log(LogLevel::kInfo, "a backup begins", {{"to", request->to()}});
  const auto report = operations_.MakeBackup(*request, ProgressTo(context, writer));
  LogBackup(request->to(), report);
  return Answer(report, writer);
}

grpc::Status AdminService::CollectGarbage(grpc::ServerContext*,
                                          const admin::v1::CollectGarbageRequest* request,
                                          admin::v1::CollectGarbageReport* report) {
  absl::StatusOr<admin::v1::CollectGarbageReport> made = operations_.Collect(*request);
  if (!made.ok()) return ToGrpcStatus(made.status());
  *report = *std::move(made);
  if (!request->dry_run()) {
    Log(LogLevel::kInfo, "collected",
        {{"blobs", absl::StrCat(report->blobs())}, {"logs", absl::StrCat(report->logs())}});
  }
  return grpc::Status::OK;
}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const std::string& data,
                                                                Operations& operations,
                                                                Clock& clock) {
  ASSIGN_OR_RETURN(AdminSocketPath socket, AdminSocketPath::In(data));
  ASSIGN_OR_RETURN(UniqueFd listening, ListenAtAdminSocket(socket));
  std::unique_ptr<AdminServer> server(new AdminServer(std::move(socket), operations, clock));
  grpc::ServerBuilder builder;
  builder.RegisterService(&server->service_);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  server->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) return absl::UnavailableError("gRPC does not start");
  ASSIGN_OR_RETURN(server->listener_,
                   Listener::At(std::move(listening), "admin.sock", [raw = server.get()](int fd) {
                     grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters taken;
                     taken.fd = fd;
                     raw->acceptor_->HandleNewConnection(&taken);
                   }));
  return server;
}

AdminServer::~AdminServer() {
  RemoveFile(socket_.path()).IgnoreError();
  listener_ = nullptr;
  if (server_ == nullptr) return;
  server_->Shutdown(DeadlineAfter(absl::ZeroDuration()));
  server_->Wait();
}

}  // namespace graft
