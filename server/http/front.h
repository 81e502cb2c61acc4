#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/telemetry/metrics.h"
#include "server/http/gateway.h"
#include "server/http/http_server.h"
#include "server/rpc/executor.h"
#include "server/rpc/server.h"

namespace graft {

// What graft-server serves at --http: /metrics and /healthz to everybody, the gateway and the page
// to those who name it rightly.
class HttpFront {
 public:
  struct Options {
    std::string address;             // "host:port"; port 0 takes a free one.
    int max_descriptors;             // RLIMIT_NOFILE.
    bool api = true;                 // Otherwise only /metrics and /healthz.
    std::vector<std::string> hosts;  // Names of the server beside loopback's and its address.
  };
  // `registry` and `rpc` outlive it. INVALID_ARGUMENT: no address; UNAVAILABLE: in use, or not an
  // address of this machine.
  static absl::StatusOr<std::unique_ptr<HttpFront>> Start(const Options& options,
                                                          MetricRegistry& registry, RpcServer& rpc);

  // With the port really bound.
  const std::string& address() const { return server_->address(); }

 private:
  HttpFront(const Options& options, MetricRegistry& registry, RpcServer& rpc);
  void Handle(std::shared_ptr<Exchange> exchange);
  void AnswerMetrics(const std::shared_ptr<Exchange>& exchange);

  const Options options_;
  MetricRegistry& registry_;
  Gateway gateway_;
  Executor scrapes_;
  // Last: its exchanges use the others.
  std::unique_ptr<HttpServer> server_;
};

}  // namespace graft
