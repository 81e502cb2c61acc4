#include "server/rpc/upload_service.h"

#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {

grpc::ServerUnaryReactor* UploadService::QueryUpload(grpc::CallbackServerContext* call,
                                                     const v1::QueryUploadRequest* request,
                                                     v1::QueryUploadResponse* response) {
  return context_.runtime.Unary(
      call, *request, {"UploadService.QueryUpload", "uploads.get", ""},
      [=, this](const Caller&) -> absl::Status {
        Violations violations;
        if (!IsSha256Hex(request->sha256())) {
          violations.Add("sha256", "must be 64 lower-case hexadecimal digits");
        }
        if (request->size_bytes() < 0) violations.Add("size_bytes", "must not be negative");
        RETURN_IF_ERROR(violations.ToStatus());
        response->set_received_bytes(
            context_.catalogue.partials.Received(request->sha256(), request->size_bytes()));
        return absl::OkStatus();
      });
}

}  // namespace graft
