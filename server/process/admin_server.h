#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "graft/admin/v1/admin.grpc.pb.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "server/operations/operations.h"
#include "server/process/admin_socket.h"
#include "server/rpc/listener.h"

namespace graft {

// Operations by gRPC. Its calls take minutes and are few: each has a thread of gRPC's until its
// end. A call that its caller leaves ends at the next progress.
class AdminService final : public admin::v1::AdminService::Service {
 public:
  AdminService(Operations& operations, Clock& clock) : operations_(operations), clock_(clock) {}

  grpc::Status Check(grpc::ServerContext* context, const admin::v1::CheckRequest* request,
                     grpc::ServerWriter<admin::v1::CheckResponse>* writer) override;
  grpc::Status BackUp(grpc::ServerContext* context, const admin::v1::BackUpRequest* request,
                      grpc::ServerWriter<admin::v1::BackUpResponse>* writer) override;
  grpc::Status CollectGarbage(grpc::ServerContext* context,
                              const admin::v1::CollectGarbageRequest* request,
                              admin::v1::CollectGarbageReport* report) override;

 private:
  // Sends progress now and then; false: nobody hears it any more.
  template <typename Response>
  OperationProgress ProgressTo(grpc::ServerContext* context, grpc::ServerWriter<Response>* writer);

  Operations& operations_;
  Clock& clock_;
};

// Serves AdminService at DATA/admin.sock. Owns the socket's file, which goes with it.
class AdminServer {
 public:
  // UNAVAILABLE: there can be no such socket.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& data,
                                                            Operations& operations, Clock& clock);
  // Ends calls that run: a backup leaves nothing.
  ~AdminServer();

 private:
  AdminServer(AdminSocketPath socket, Operations& operations, Clock& clock)
      : socket_(std::move(socket)), service_(operations, clock) {}

  const AdminSocketPath socket_;
  AdminService service_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Listener> listener_;
};

}  // namespace graft
