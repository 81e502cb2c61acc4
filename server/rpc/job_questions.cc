// What JobService answers about jobs and leaves as they are, beyond what the store has as it is
// asked for.

#include "common/base/status_macros.h"
#include "server/analysis/comparison.h"
#include "server/analysis/metric_curves.h"
#include "server/analysis/row_losses.h"
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

grpc::ServerUnaryReactor* JobService::ReadMetrics(grpc::CallbackServerContext* call,
                                                  const v1::ReadMetricsRequest* request,
                                                  v1::ReadMetricsResponse* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.ReadMetrics", "jobs.get", request->name(), Lane::kLong},
      [=, this](const Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(*response, ReadMetricCurves(context_.store, *request, caller.gone));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* JobService::CompareJobs(grpc::CallbackServerContext* call,
                                                  const v1::CompareJobsRequest* request,
                                                  v1::CompareJobsResponse* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.CompareJobs", "jobs.list", "", Lane::kLong},
      [=, this](const Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(*response, graft::CompareJobs(context_.store, context_.catalogue.blobs,
                                                       *request, caller.gone));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* JobService::ReadRows(grpc::CallbackServerContext* call,
                                               const v1::ReadRowsRequest* request,
                                               v1::ReadRowsResponse* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.ReadRows", "jobs.get", request->name(), Lane::kLong},
      [=, this](const Caller& caller) -> absl::Status {
        RETURN_IF_ERROR(CheckPaging(request->page_size(), request->page_token()));
        ASSIGN_OR_RETURN(*response, ReadJobRows(context_.store, context_.catalogue.blobs, *request,
                                                caller.gone));
        return absl::OkStatus();
      });
}

}  // namespace graft
