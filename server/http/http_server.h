#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/http/exchange.h"

namespace graft {

// HTTP/1.1. Two threads serve all connections, however many: idle ones and streams cost none.
class HttpServer {
 public:
  struct Options {
    std::string address;  // "host:port"; port 0 takes a free one.
    int max_descriptors;  // RLIMIT_NOFILE.
  };
  // `handler` runs on these threads and must not block.
  // INVALID_ARGUMENT: no address; UNAVAILABLE: in use, or not an address of this machine.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const Options& options, std::function<void(std::shared_ptr<Exchange>)> handler);
  // Ends all connections, and waits until nobody has an exchange any more.
  ~HttpServer();

  // With the port really bound.
  const std::string& address() const;

 private:
  struct Parts;
  explicit HttpServer(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace graft
