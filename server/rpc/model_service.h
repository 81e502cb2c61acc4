#pragma once

#include "graft/v1/model.grpc.pb.h"
#include "server/rpc/service_context.h"

namespace graft {

// graft.v1.ModelService. Thread-safe; the context outlives it.
class ModelService final : public v1::ModelService::CallbackService {
 public:
  explicit ModelService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* call,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* call,
                                     const v1::GetModelRequest* request,
                                     v1::Model* response) override;
  grpc::ServerReadReactor<v1::ImportModelRequest>* ImportModel(grpc::CallbackServerContext* call,
                                                               v1::Model* response) override;
  grpc::ServerUnaryReactor* DeleteModel(grpc::CallbackServerContext* call,
                                        const v1::DeleteModelRequest* request,
                                        google::protobuf::Empty* response) override;

 private:
  absl::Status List(const v1::ListModelsRequest& request, v1::ListModelsResponse* response);

  ServiceContext& context_;
};

}  // namespace graft
