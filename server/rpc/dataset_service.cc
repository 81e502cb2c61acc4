#include "server/rpc/dataset_service.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "server/catalogue/dataset_preview.h"
#include "server/catalogue/dataset_upload.h"
#include "server/catalogue/file_chunks.h"
#include "server/catalogue/lookup.h"
#include "server/rpc/streams.h"

namespace graft {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

grpc::ServerReadReactor<v1::UploadDatasetRequest>* DatasetService::UploadDataset(
    CallbackServerContext* call, v1::Dataset* response) {
  return new ClientStream<v1::UploadDatasetRequest>(
      context_.runtime, call, {"DatasetService.UploadDataset", "datasets.create", "", Lane::kBulk},
      [this, response](
          const Caller&) -> absl::StatusOr<std::unique_ptr<MessageSink<v1::UploadDatasetRequest>>> {
        return std::make_unique<DatasetUploadSink>(context_.catalogue, response);
      });
}

grpc::ServerUnaryReactor* DatasetService::GetDataset(CallbackServerContext* call,
                                                     const v1::GetDatasetRequest* request,
                                                     v1::Dataset* response) {
  return context_.runtime.Unary(
      call, *request, {"DatasetService.GetDataset", "datasets.get", request->name()},
      [=, this](const Caller&) -> absl::Status {
        RETURN_IF_ERROR(ValidateName(request->name(), "name"));
        ASSIGN_OR_RETURN(*response, FindDataset(context_.store, {request->name(), "name"}));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* DatasetService::ListDatasets(CallbackServerContext* call,
                                                       const v1::ListDatasetsRequest* request,
                                                       v1::ListDatasetsResponse* response) {
  return context_.runtime.Unary(call, *request,
                                {"DatasetService.ListDatasets", "datasets.list", ""},
                                [=, this](const Caller&) { return List(*request, response); });
}

absl::Status DatasetService::List(const v1::ListDatasetsRequest& request,
                                  v1::ListDatasetsResponse* response) {
  RETURN_IF_ERROR(CheckPaging(request.page_size(), request.page_token()));
  ASSIGN_OR_RETURN(Page<v1::Dataset> page,
                   context_.store.ListDatasets(request.page_size(), request.page_token()));
  for (v1::Dataset& dataset : page.items) *response->add_datasets() = std::move(dataset);
  response->set_next_page_token(page.next_page_token);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* DatasetService::DeleteDataset(CallbackServerContext* call,
                                                        const v1::DeleteDatasetRequest* request,
                                                        google::protobuf::Empty* response) {
  return context_.runtime.Unary(
      call, *request, {"DatasetService.DeleteDataset", "datasets.delete", request->name()},
      [=, this](const Caller&) -> absl::Status {
        RETURN_IF_ERROR(ValidateName(request->name(), "name"));
        return context_.store.DeleteDataset(request->name());
      });
}

grpc::ServerUnaryReactor* DatasetService::PreviewDataset(CallbackServerContext* call,
                                                         const v1::PreviewDatasetRequest* request,
                                                         v1::PreviewDatasetResponse* response) {
  return context_.runtime.Unary(
      call, *request,
      {"DatasetService.PreviewDataset", "datasets.get", request->name(), Lane::kLong},
      [=, this](const Caller& caller) {
        return BuildPreview(context_.catalogue, *request, caller.gone, response);
      });
}

}  // namespace graft
