#pragma once

#include "graft/v1/dataset.grpc.pb.h"
#include "server/rpc/service_context.h"

namespace graft {

// graft.v1.DatasetService. Thread-safe; the context outlives it.
class DatasetService final : public v1::DatasetService::CallbackService {
 public:
  explicit DatasetService(ServiceContext& context) : context_(context) {}

  grpc::ServerReadReactor<v1::UploadDatasetRequest>* UploadDataset(
      grpc::CallbackServerContext* call, v1::Dataset* response) override;
  grpc::ServerUnaryReactor* GetDataset(grpc::CallbackServerContext* call,
                                       const v1::GetDatasetRequest* request,
                                       v1::Dataset* response) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* call,
                                         const v1::ListDatasetsRequest* request,
                                         v1::ListDatasetsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteDataset(grpc::CallbackServerContext* call,
                                          const v1::DeleteDatasetRequest* request,
                                          google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* PreviewDataset(grpc::CallbackServerContext* call,
                                           const v1::PreviewDatasetRequest* request,
                                           v1::PreviewDatasetResponse* response) override;

 private:
  absl::Status List(const v1::ListDatasetsRequest& request, v1::ListDatasetsResponse* response);

  ServiceContext& context_;
};

}  // namespace graft
