#include "server/rpc/adapter_service.h"

#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/jobs/job_filter.h"
#include "common/jobs/names.h"
#include "server/catalogue/adapter_download.h"
#include "server/catalogue/file_chunks.h"
#include "server/catalogue/imports.h"
#include "server/catalogue/lookup.h"
#include "server/rpc/streams.h"
#include "server/serving/generation_request.h"
#include "server/serving/generation_streams.h"

namespace graft {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

grpc::ServerUnaryReactor* AdapterService::ListAdapters(CallbackServerContext* call,
                                                       const v1::ListAdaptersRequest* request,
                                                       v1::ListAdaptersResponse* response) {
  return context_.runtime.Unary(call, *request,
                                {"AdapterService.ListAdapters", "adapters.list", ""},
                                [=, this](const Caller&) { return List(*request, response); });
}

absl::Status AdapterService::List(const v1::ListAdaptersRequest& request,
                                  v1::ListAdaptersResponse* response) {
  RETURN_IF_ERROR(CheckPaging(request.page_size(), request.page_token()));
  ASSIGN_OR_RETURN(const AdapterFilter filter, ParseAdapterFilter(request.filter()));
  ASSIGN_OR_RETURN(Page<v1::Adapter> page,
                   context_.store.ListAdapters(filter, request.page_size(), request.page_token()));
  for (v1::Adapter& adapter : page.items) {
    adapter.set_directory(context_.catalogue.publisher.AdapterDirectory(adapter.name()));
    *response->add_adapters() = std::move(adapter);
  }
  response->set_next_page_token(page.next_page_token);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* AdapterService::GetAdapter(CallbackServerContext* call,
                                                     const v1::GetAdapterRequest* request,
                                                     v1::Adapter* response) {
  return context_.runtime.Unary(
      call, *request, {"AdapterService.GetAdapter", "adapters.get", request->name()},
      [=, this](const Caller&) -> absl::Status {
        RETURN_IF_ERROR(ValidateName(request->name(), "name"));
        ASSIGN_OR_RETURN(*response, FindAdapter(context_.store, {request->name(), "name"}));
        response->set_directory(context_.catalogue.publisher.AdapterDirectory(response->name()));
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::FileChunk>* AdapterService::DownloadAdapter(
    CallbackServerContext* call, const v1::DownloadAdapterRequest* request) {
  return new ServerStream<v1::FileChunk>(
      context_.runtime, call, *request,
      {"AdapterService.DownloadAdapter", "adapters.get", request->name(), Lane::kLong},
      [this, request](const Caller&, const std::shared_ptr<StreamWaker>&) {
        return OpenAdapterDownload(context_.catalogue, *request);
      });
}

grpc::ServerWriteReactor<v1::FileChunk>* AdapterService::MergeAdapter(
    CallbackServerContext* call, const v1::MergeAdapterRequest* request) {
  return new ServerStream<v1::FileChunk>(
      context_.runtime, call, *request,
      {"AdapterService.MergeAdapter", "adapters.get", request->name(), Lane::kLong},
      [this, request](const Caller&, const std::shared_ptr<StreamWaker>&) {
        return OpenMergedModel(context_.catalogue, *request);
      });
}

grpc::ServerReadReactor<v1::ImportAdapterRequest>* AdapterService::ImportAdapter(
    CallbackServerContext* call, v1::Adapter* response) {
  return new ClientStream<v1::ImportAdapterRequest>(
      context_.runtime, call, {"AdapterService.ImportAdapter", "adapters.create", "", Lane::kBulk},
      [this, response](
          const Caller&) -> absl::StatusOr<std::unique_ptr<MessageSink<v1::ImportAdapterRequest>>> {
        return std::make_unique<AdapterImportSink>(context_.catalogue, response);
      });
}

grpc::ServerUnaryReactor* AdapterService::DeleteAdapter(CallbackServerContext* call,
                                                        const v1::DeleteAdapterRequest* request,
                                                        google::protobuf::Empty* response) {
  return context_.runtime.Unary(
      call, *request, {"AdapterService.DeleteAdapter", "adapters.delete", request->name()},
      [=, this](const Caller&) -> absl::Status {
        RETURN_IF_ERROR(ValidateName(request->name(), "name"));
        RETURN_IF_ERROR(context_.store.DeleteAdapter(request->name()));
        context_.catalogue.publisher.Hide(request->name());
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::GenerateResponse>* AdapterService::Generate(
    CallbackServerContext* call, const v1::GenerateRequest* request) {
  return new ServerStream<v1::GenerateResponse>(
      context_.runtime, call, *request,
      {"AdapterService.Generate", "adapters.generate", request->adapter()},
      [this, request](const Caller&, std::shared_ptr<StreamWaker> waker)
          -> absl::StatusOr<std::unique_ptr<MessageSource<v1::GenerateResponse>>> {
        ASSIGN_OR_RETURN(worker::v1::Command::Generate command,
                         ResolveGeneration(context_.store, *request));
        ASSIGN_OR_RETURN(GenerationBroker::Handle texts,
                         context_.broker.Submit({std::move(command)}, std::move(waker)));
        return std::make_unique<GenerationSource>(context_.broker, std::move(texts));
      });
}

grpc::ServerWriteReactor<v1::GenerateBatchResponse>* AdapterService::GenerateBatch(
    CallbackServerContext* call, const v1::GenerateBatchRequest* request) {
  return new ServerStream<v1::GenerateBatchResponse>(
      context_.runtime, call, *request, {"AdapterService.GenerateBatch", "adapters.generate", ""},
      [this, request](const Caller&, std::shared_ptr<StreamWaker> waker)
          -> absl::StatusOr<std::unique_ptr<MessageSource<v1::GenerateBatchResponse>>> {
        ASSIGN_OR_RETURN(std::vector<worker::v1::Command::Generate> commands,
                         ResolveGenerationBatch(context_.store, *request));
        ASSIGN_OR_RETURN(GenerationBroker::Handle texts,
                         context_.broker.Submit(std::move(commands), std::move(waker)));
        return std::make_unique<GenerationBatchSource>(context_.broker, std::move(texts));
      });
}

}  // namespace graft
