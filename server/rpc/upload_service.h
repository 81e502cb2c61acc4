#pragma once

#include "graft/v1/upload.grpc.pb.h"
#include "server/rpc/service_context.h"

namespace graft {

// graft.v1.UploadService. Thread-safe; the context outlives it.
class UploadService final : public v1::UploadService::CallbackService {
 public:
  explicit UploadService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* QueryUpload(grpc::CallbackServerContext* call,
                                        const v1::QueryUploadRequest* request,
                                        v1::QueryUploadResponse* response) override;

 private:
  ServiceContext& context_;
};

}  // namespace graft
