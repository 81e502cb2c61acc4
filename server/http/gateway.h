#pragma once

#include <memory>

#include "grpcpp/channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "server/http/exchange.h"
#include "server/http/routes.h"
#include "server/rpc/admission.h"

namespace graft {

// Of a request's body that is one message; of an upload's there is no bound.
inline constexpr int64_t kMaxHttpMessageBytes = 8 << 20;

// The public API as JSON over HTTP: each request becomes a call of the service whose .proto file
// has its path. What a call may take is the services' to judge.
class Gateway {
 public:
  // `channel`: to the services. `admission`: of the same callers. Exchanges must be over before it
  // is destroyed.
  Gateway(std::shared_ptr<grpc::Channel> channel, Admission& admission)
      : stub_(std::move(channel)), admission_(admission), routes_(PublicServices()) {}

  void Handle(std::shared_ptr<Exchange> exchange);

 private:
  // Reads the body, then calls.
  void HandleMessage(const RouteTable::Match& match, const Target& target,
                     const std::shared_ptr<Exchange>& exchange);
  void Call(const RouteTable::Match& match, const Target& target, absl::string_view body,
            const std::shared_ptr<Exchange>& exchange);
  void HandleUpload(const RouteTable::Match& match, const Target& target,
                    std::shared_ptr<Exchange> exchange);

  grpc::GenericStub stub_;
  Admission& admission_;
  const RouteTable routes_;
};

}  // namespace graft
