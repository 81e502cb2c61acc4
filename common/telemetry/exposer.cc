#include "common/telemetry/exposer.h"

#include <exception>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "prometheus/exposer.h"

namespace graft {

absl::StatusOr<HostPort> ParseHostPort(absl::string_view address) {
  const size_t colon = address.rfind(':');
  HostPort parsed;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &parsed.port) || parsed.port < 0 ||
      parsed.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no address: write HOST:PORT, e.g. 127.0.0.1:9464"));
  }
  absl::string_view host = address.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
  }
  parsed.host = std::string(host);
  return parsed;
}

bool IsLoopback(absl::string_view host) {
  return host == "localhost" || host == "::1" || absl::StartsWith(host, "127.");
}

absl::StatusOr<std::unique_ptr<MetricsExposer>> MetricsExposer::Start(const std::string& address,
                                                                      MetricRegistry& registry) {
  ASSIGN_OR_RETURN(HostPort parsed, ParseHostPort(address));
  // civetweb takes numbers only.
  if (parsed.host == "localhost") parsed.host = "127.0.0.1";
  const std::string host =
      absl::StrContains(parsed.host, ':') ? absl::StrCat("[", parsed.host, "]") : parsed.host;
  try {
    auto exposer =
        std::make_unique<prometheus::Exposer>(absl::StrCat(host, ":", parsed.port), /*threads=*/2);
    exposer->RegisterCollectable(registry.collectable());
    const std::vector<int> ports = exposer->GetListeningPorts();
    if (ports.empty()) return absl::UnavailableError(absl::StrCat("no port bound for ", address));
    return std::unique_ptr<MetricsExposer>(
        new MetricsExposer(std::move(exposer), absl::StrCat(host, ":", ports[0])));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("cannot serve HTTP on ", address, ": ", error.what(),
                                               " (is the port in use?)"));
  }
}

MetricsExposer::MetricsExposer(std::unique_ptr<prometheus::Exposer> exposer, std::string address)
    : exposer_(std::move(exposer)), address_(std::move(address)) {}
MetricsExposer::~MetricsExposer() = default;

}  // namespace graft
