#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/telemetry/metrics.h"

namespace prometheus {
class Exposer;
}

namespace graft {

// Splits "host:port" or "[v6]:port". INVALID_ARGUMENT when it is neither or the port is not
// 0..65535.
struct HostPort {
  std::string host;
  int port = 0;
};
absl::StatusOr<HostPort> ParseHostPort(absl::string_view address);
// 127.0.0.0/8, ::1 or localhost.
bool IsLoopback(absl::string_view host);

// Serves GET /metrics over HTTP with threads of its own until destroyed.
class MetricsExposer {
 public:
  // `address` is "host:port"; port 0 takes a free one. `registry` must outlive the exposer.
  // INVALID_ARGUMENT: no address; UNAVAILABLE: cannot be bound (in use, or not an address of this
  // machine).
  static absl::StatusOr<std::unique_ptr<MetricsExposer>> Start(const std::string& address,
                                                               MetricRegistry& registry);
  ~MetricsExposer();

  // "127.0.0.1:9464", with the port really bound.
  const std::string& address() const { return address_; }

 private:
  MetricsExposer(std::unique_ptr<prometheus::Exposer> exposer, std::string address);

  const std::unique_ptr<prometheus::Exposer> exposer_;
  const std::string address_;
};

}  // namespace graft
