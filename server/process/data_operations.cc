#include "server/process/data_operations.h"

#include <unistd.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/process_lock.h"
#include "common/base/status_macros.h"
#include "common/rpc/deadline.h"
#include "common/rpc/status.h"
#include "graft/admin/v1/admin.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "server/operations/data_directory.h"
#include "server/operations/operations.h"
#include "server/process/admin_socket.h"
#include "server/process/data_locks.h"

namespace graft {
namespace {

constexpr absl::Duration kConnectTime = absl::Seconds(10);

// Reads to the end: what comes last is the report.
template <typename Report, typename Response>
absl::StatusOr<Report> ReadReport(grpc::ClientContext& context,
                                  grpc::ClientReader<Response>& reader,
                                  const OperationProgress& progress) {
  std::optional<Report> report;
  Response response;
  while (reader.Read(&response)) {
    if (response.has_report()) {
      report = response.report();
    } else if (!progress(response.progress())) {
      context.TryCancel();
    }
  }
  RETURN_IF_ERROR(FromGrpcStatus(reader.Finish()));
  if (!report) return absl::InternalError("the server ended without a report");
  return *std::move(report);
}

class OfServer : public DataOperations {
 public:
  static absl::StatusOr<std::unique_ptr<DataOperations>> Connect(const std::string& data) {
    ASSIGN_OR_RETURN(AdminSocketPath socket, AdminSocketPath::In(data));
    const auto channel = grpc::CreateChannel(absl::StrCat("unix:", socket.path()),
                                             grpc::InsecureChannelCredentials());
    if (::access(socket.path().c_str(), F_OK) != 0 ||
        !channel->WaitForConnected(DeadlineAfter(kConnectTime))) {
      return absl::FailedPreconditionError(absl::StrCat(
          "a graft-server (process ", ProcessLock::OwnerOf(JoinPath(data, kServerLockName)),
          ") uses ", data, ", and does not answer at ", JoinPath(data, "admin.sock"),
          ": its log says why, or it is of an earlier graft; stop it first"));
    }
    return std::unique_ptr<DataOperations>(new OfServer(std::move(socket), channel));
  }

  bool server_runs() const override { return true; }
  absl::StatusOr<admin::v1::CheckReport> Check(const admin::v1::CheckRequest& request,
                                               const OperationProgress& progress) override {
    grpc::ClientContext context;
    const auto reader = stub_->Check(&context, request);
    return ReadReport<admin::v1::CheckReport>(context, *reader, progress);
  }
  absl::StatusOr<admin::v1::BackUpReport> BackUp(const admin::v1::BackUpRequest& request,
                                                 const OperationProgress& progress) override {
    grpc::ClientContext context;
    const auto reader = stub_->BackUp(&context, request);
    return ReadReport<admin::v1::BackUpReport>(context, *reader, progress);
  }
  absl::StatusOr<admin::v1::CollectGarbageReport> Collect(
      const admin::v1::CollectGarbageRequest& request) override {
    grpc::ClientContext context;
    admin::v1::CollectGarbageReport report;
    RETURN_IF_ERROR(FromGrpcStatus(stub_->CollectGarbage(&context, request, &report)));
    return report;
  }

 private:
  OfServer(AdminSocketPath socket, const std::shared_ptr<grpc::Channel>& channel)
      : socket_(std::move(socket)), stub_(admin::v1::AdminService::NewStub(channel)) {}

  const AdminSocketPath socket_;  // The channel's way.
  const std::unique_ptr<admin::v1::AdminService::Stub> stub_;
};

// A look must not make a store where there is none.
absl::Status CheckStoreIsThere(absl::string_view uri) {
  absl::string_view path = uri;
  if (!absl::ConsumePrefix(&path, "sqlite:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("--store: ", uri, " forgets all at its end; there is nothing left of it"));
  }
  if (FileExists(std::string(path))) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("--store: there is no file ", path));
}

class OfFiles : public DataOperations {
 public:
  static absl::StatusOr<std::unique_ptr<DataOperations>> Open(const ServerFlags& flags) {
    RETURN_IF_ERROR(CheckStoreIsThere(flags.store));
    ASSIGN_OR_RETURN(std::vector<ProcessLock> locks, LockDirectories(flags));
    ASSIGN_OR_RETURN(std::unique_ptr<JobStore> store, OpenJobStore(flags.store, {}));
    ASSIGN_OR_RETURN(std::unique_ptr<FileBlobStore> blobs,
                     FileBlobStore::Open(JoinPath(flags.artifacts, "blobs")));
    ASSIGN_OR_RETURN(std::unique_ptr<JobLogs> logs,
                     JobLogs::Open(JoinPath(flags.artifacts, "logs")));
    return std::unique_ptr<DataOperations>(
        new OfFiles(flags, std::move(locks), std::move(store), std::move(blobs), std::move(logs)));
  }

  bool server_runs() const override { return false; }
  absl::StatusOr<admin::v1::CheckReport> Check(const admin::v1::CheckRequest& request,
                                               const OperationProgress& progress) override {
    return operations_.Check(request, progress);
  }
  absl::StatusOr<admin::v1::BackUpReport> BackUp(const admin::v1::BackUpRequest& request,
                                                 const OperationProgress& progress) override {
    return operations_.MakeBackup(request, progress);
  }
  absl::StatusOr<admin::v1::CollectGarbageReport> Collect(
      const admin::v1::CollectGarbageRequest& request) override {
    return operations_.Collect(request);
  }

 private:
  OfFiles(const ServerFlags& flags, std::vector<ProcessLock> locks, std::unique_ptr<JobStore> store,
          std::unique_ptr<FileBlobStore> blobs, std::unique_ptr<JobLogs> logs)
      : locks_(std::move(locks)),
        store_(std::move(store)),
        blobs_(std::move(blobs)),
        logs_(std::move(logs)),
        operations_({*store_, *blobs_, *logs_, flags.store, flags.artifacts}) {}

  const std::vector<ProcessLock> locks_;
  const std::unique_ptr<JobStore> store_;
  const std::unique_ptr<FileBlobStore> blobs_;
  const std::unique_ptr<JobLogs> logs_;
  Operations operations_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataOperations>> OpenData(const ServerFlags& flags) {
  if (IsLocked(JoinPath(flags.data, kServerLockName))) return OfServer::Connect(flags.data);
  return OfFiles::Open(flags);
}

}  // namespace graft
