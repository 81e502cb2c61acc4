// What JobService answers about jobs and leaves as they are, beyond what the store has as it is
// asked for.

#include "common/base/status_macros.h"
#include "server/catalogue/file_chunks.h"
#include "server/rpc/job_service.h"

namespace graft {

grpc::ServerUnaryReactor* JobService::GetQueue(grpc::CallbackServerContext* call,
                                               const v1::GetQueueRequest* request,
                                               v1::GetQueueResponse* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.GetQueue", "jobs.list", request->name()},
      [=, this](const Caller&) -> absl::Status {
        RETURN_IF_ERROR(CheckPaging(request->page_size(), request->page_token()));
        ASSIGN_OR_RETURN(*response, context_.queue.Read(*request));
        return absl::OkStatus();
      });
}

}  // namespace graft
