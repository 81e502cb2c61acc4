#pragma once

#include "graft/v1/adapter.grpc.pb.h"
#include "server/rpc/service_context.h"

namespace graft {

// graft.v1.AdapterService. Thread-safe; the context outlives it.
class AdapterService final : public v1::AdapterService::CallbackService {
 public:
  explicit AdapterService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* ListAdapters(grpc::CallbackServerContext* call,
                                         const v1::ListAdaptersRequest* request,
                                         v1::ListAdaptersResponse* response) override;
  grpc::ServerUnaryReactor* GetAdapter(grpc::CallbackServerContext* call,
                                       const v1::GetAdapterRequest* request,
                                       v1::Adapter* response) override;
  grpc::ServerWriteReactor<v1::FileChunk>* DownloadAdapter(
      grpc::CallbackServerContext* call, const v1::DownloadAdapterRequest* request) override;
  grpc::ServerWriteReactor<v1::FileChunk>* MergeAdapter(
      grpc::CallbackServerContext* call, const v1::MergeAdapterRequest* request) override;
  grpc::ServerReadReactor<v1::ImportAdapterRequest>* ImportAdapter(
      grpc::CallbackServerContext* call, v1::Adapter* response) override;
  grpc::ServerUnaryReactor* DeleteAdapter(grpc::CallbackServerContext* call,
                                          const v1::DeleteAdapterRequest* request,
                                          google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* call, const v1::GenerateRequest* request) override;
  grpc::ServerWriteReactor<v1::GenerateBatchResponse>* GenerateBatch(
      grpc::CallbackServerContext* call, const v1::GenerateBatchRequest* request) override;

 private:
  absl::Status List(const v1::ListAdaptersRequest& request, v1::ListAdaptersResponse* response);

  ServiceContext& context_;
};

}  // namespace graft
