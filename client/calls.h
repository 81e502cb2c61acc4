#pragma once

// How ApiClient makes its calls. For its own sources.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/api_client.h"
#include "client/retry.h"
#include "common/base/status_macros.h"
#include "common/rpc/deadline.h"
#include "grpcpp/client_context.h"

namespace graft {

// A call that only asks: made again while the server is away.
template <typename Request, typename Response, typename Stub>
absl::StatusOr<Response> Call(const ApiClient::Options& options, Stub& stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                              const Request& request) {
  Response response;
  RETURN_IF_ERROR(RetryUnavailable(options.patience, [&] {
    grpc::ClientContext context;
    context.set_deadline(DeadlineAfter(options.call_timeout));
    return EndOf((stub.*method)(&context, request, &response));
  }));
  return response;
}

// For a request with a request_id.
template <typename Request, typename Response, typename Stub>
absl::StatusOr<Response> CallOnce(ApiClient::Options options, Stub& stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                               Response*),
                                  const Request& request) {
  options.call_timeout /= 2;
  absl::StatusOr<Response> response = Call(options, stub, method, request);
  if (!absl::IsDeadlineExceeded(response.status())) return response;
  return Call(options, stub, method, request);
}

template <typename Request>
Request Named(const std::string& name) {
  Request request;
  request.set_name(name);
  return request;
}

// With a request_id of its own.
template <typename Request>
Request Once(const std::string& name) {
  auto request = Named<Request>(name);
  request.set_request_id(NewRequestId());
  return request;
}

class ApiClient::StreamScope {
 public:
  StreamScope(ApiClient& client, grpc::ClientContext& context)
      : client_(client), context_(context) {
    MutexLock lock(client_.mutex_);
    client_.streams_.insert(&context_);
    if (client_.cancelled_) context_.TryCancel();
  }
  ~StreamScope() {
    MutexLock lock(client_.mutex_);
    client_.streams_.erase(&context_);
  }

 private:
  ApiClient& client_;
  grpc::ClientContext& context_;
};

template <typename Stub, typename Request, typename Response>
absl::Status ApiClient::Follow(Stub& stub,
                               std::unique_ptr<grpc::ClientReader<Response>> (Stub::*method)(
                                   grpc::ClientContext*, const Request&),
                               Request request,
                               const std::function<bool(const Response&)>& on_message,
                               const std::function<void(const absl::Status&)>& on_reconnect) {
  bool seen = false;  // Only a server that was once there is waited for long.
  for (;;) {
    bool progressed = false;
    bool stopped = false;
    const absl::Status status =
        RetryUnavailable(seen ? options_.watch_patience : options_.patience, [&]() -> absl::Status {
          grpc::ClientContext context;
          const StreamScope scope(*this, context);
          auto stream = (stub.*method)(&context, request);
          Response response;
          while (!stopped && stream->Read(&response)) {
            if (response.has_event()) request.set_after_sequence(response.event().sequence());
            progressed = seen = true;
            stopped = !on_message(response);
            if (stopped) context.TryCancel();
          }
          const absl::Status end = EndOf(stream->Finish(), stopped || cancelled());
          if (stopped) return absl::OkStatus();
          // A stream that brought something begins a new patience.
          return progressed && absl::IsUnavailable(end) ? absl::AbortedError(end.message()) : end;
        });
    if (!absl::IsAborted(status)) return status;
    if (on_reconnect) on_reconnect(status);
  }
}

}  // namespace graft
