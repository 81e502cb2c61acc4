#include "server/rpc/model_service.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "server/catalogue/file_chunks.h"
#include "server/catalogue/imports.h"
#include "server/catalogue/lookup.h"
#include "server/rpc/streams.h"

namespace graft {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

grpc::ServerUnaryReactor* ModelService::ListModels(CallbackServerContext* call,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  return context_.runtime.Unary(call, *request, {"ModelService.ListModels", "models.list", ""},
                                [=, this](const Caller&) { return List(*request, response); });
}

absl::Status ModelService::List(const v1::ListModelsRequest& request,
                                v1::ListModelsResponse* response) {
  RETURN_IF_ERROR(CheckPaging(request.page_size(), request.page_token()));
  ASSIGN_OR_RETURN(Page<v1::Model> page,
                   context_.store.ListModels(request.page_size(), request.page_token()));
  for (v1::Model& model : page.items) *response->add_models() = std::move(model);
  response->set_next_page_token(page.next_page_token);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ModelService::GetModel(CallbackServerContext* call,
                                                 const v1::GetModelRequest* request,
                                                 v1::Model* response) {
  return context_.runtime.Unary(
      call, *request, {"ModelService.GetModel", "models.get", request->name()},
      [=, this](const Caller&) -> absl::Status {
        RETURN_IF_ERROR(ValidateName(request->name(), "name"));
        ASSIGN_OR_RETURN(*response, FindModel(context_.store, {request->name(), "name"}));
        return absl::OkStatus();
      });
}

grpc::ServerReadReactor<v1::ImportModelRequest>* ModelService::ImportModel(
    CallbackServerContext* call, v1::Model* response) {
  return new ClientStream<v1::ImportModelRequest>(
      context_.runtime, call, {"ModelService.ImportModel", "models.create", "", Lane::kBulk},
      [this, response](
          const Caller&) -> absl::StatusOr<std::unique_ptr<MessageSink<v1::ImportModelRequest>>> {
        return std::make_unique<ModelImportSink>(context_.catalogue, response);
      });
}

grpc::ServerUnaryReactor* ModelService::DeleteModel(CallbackServerContext* call,
                                                    const v1::DeleteModelRequest* request,
                                                    google::protobuf::Empty* response) {
  return context_.runtime.Unary(call, *request,
                                {"ModelService.DeleteModel", "models.delete", request->name()},
                                [=, this](const Caller&) -> absl::Status {
                                  RETURN_IF_ERROR(ValidateName(request->name(), "name"));
                                  RETURN_IF_ERROR(context_.store.DeleteModel(request->name()));
                                  context_.catalogue.publisher.Hide(request->name());
                                  return absl::OkStatus();
                                });
}

}  // namespace graft
