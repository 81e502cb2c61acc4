#pragma once

#include "graft/v1/worker.grpc.pb.h"
#include "server/rpc/service_context.h"

namespace graft {

// graft.v1.WorkerService, which users see; workers themselves speak graft.worker.v1
// (worker_service.h). Thread-safe; the context outlives it.
class WorkerListService final : public v1::WorkerService::CallbackService {
 public:
  explicit WorkerListService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* call,
                                        const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;

 private:
  absl::Status List(const v1::ListWorkersRequest& request, v1::ListWorkersResponse* response);

  ServiceContext& context_;
};

}  // namespace graft
