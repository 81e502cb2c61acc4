#include "server/rpc/worker_list_service.h"

#include <map>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "server/catalogue/file_chunks.h"
#include "server/store/page_token.h"

namespace graft {
namespace {

constexpr char kQuery[] = "workers";

v1::Worker ToProto(const WorkerHub::WorkerView& view) {
  v1::Worker worker;
  worker.set_name(view.id);
  worker.set_connected(true);
  worker.set_hostname(view.hostname);
  worker.set_version(view.version);
  for (const std::string& device : view.devices) worker.add_devices(device);
  worker.set_engine_threads(view.engine_threads);
  worker.set_slots(view.slots);
  worker.set_free_slots(view.free_slots);
  worker.set_serves_only(view.serves_only);
  worker.set_seconds_since_heard(absl::ToDoubleSeconds(view.since_heard));
  return worker;
}

}  // namespace

grpc::ServerUnaryReactor* WorkerListService::ListWorkers(grpc::CallbackServerContext* call,
                                                         const v1::ListWorkersRequest* request,
                                                         v1::ListWorkersResponse* response) {
  return context_.runtime.Unary(call, *request, {"WorkerService.ListWorkers", "workers.list", ""},
                                [=, this](const Caller&) { return List(*request, response); });
}

absl::Status WorkerListService::List(const v1::ListWorkersRequest& request,
                                     v1::ListWorkersResponse* response) {
  RETURN_IF_ERROR(CheckPaging(request.page_size(), request.page_token()));
  ASSIGN_OR_RETURN(const int page_size, EffectivePageSize(request.page_size()));
  std::string after;
  if (!request.page_token().empty()) {
    ASSIGN_OR_RETURN(const auto place, ReadPageToken(kQuery, request.page_token(), 1));
    after = place[0];
  }
  std::map<std::string, v1::Worker> workers;
  for (const WorkerHub::WorkerView& view : context_.hub.workers()) workers[view.id] = ToProto(view);
  ASSIGN_OR_RETURN(const std::vector<LeaseHolder> leases, context_.store.ListLeases());
  for (const LeaseHolder& lease : leases) {
    v1::Worker& worker = workers[lease.worker];
    worker.set_name(lease.worker);
    worker.add_jobs(lease.job);
  }
  PageBounds bounds(page_size);
  for (auto it = workers.upper_bound(after); it != workers.end(); ++it) {
    if (!bounds.Add(it->second.ByteSizeLong())) {
      response->set_next_page_token(MakePageToken(kQuery, {std::prev(it)->first}));
      break;
    }
    *response->add_workers() = std::move(it->second);
  }
  return absl::OkStatus();
}

}  // namespace graft
