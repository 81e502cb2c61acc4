#include "server/http/http_server.h"

#include <pthread.h>
#include <sys/socket.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "server/http/connection.h"
#include "server/rpc/listener.h"

namespace graft {
namespace {

constexpr int kHttpThreads = 2;

boost::asio::ip::tcp FamilyOf(int socket) {
  sockaddr_storage bound = {};
  socklen_t size = sizeof(bound);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size);
  return bound.ss_family == AF_INET6 ? boost::asio::ip::tcp::v6() : boost::asio::ip::tcp::v4();
}

}  // namespace

struct HttpServer::Parts {
  explicit Parts(std::function<void(std::shared_ptr<Exchange>)> handler)
      : connections(std::move(handler)), work(io.get_executor()) {
    for (int i = 0; i < kHttpThreads; ++i) {
      threads.emplace_back([this] { io.run(); });
      pthread_setname_np(threads.back().native_handle(), "http");
    }
  }
  ~Parts() {
    listener = nullptr;
    connections.End();
    work.reset();
    for (std::thread& thread : threads) thread.join();
  }

  void Take(UniqueFd fd) {
    if (connections.size() >= kMaxHttpConnections) return;
    boost::asio::ip::tcp::socket socket(boost::asio::make_strand(io));
    boost::system::error_code error;
    const auto family = FamilyOf(fd.get());
    socket.assign(family, fd.get(), error);
    if (error) return;
    (void)fd.Release();
    connections.Serve(std::move(socket));
  }

  // One after the other: connections are gone before what runs them is.
  boost::asio::io_context io;
  Connections connections;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work;
  std::vector<std::thread> threads;
  std::unique_ptr<Listener> listener;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const Options& options, std::function<void(std::shared_ptr<Exchange>)> handler) {
  auto parts = std::make_unique<Parts>(std::move(handler));
  ASSIGN_OR_RETURN(parts->listener,
                   Listener::Open({options.address, options.max_descriptors},
                                  [raw = parts.get()](int fd) { raw->Take(UniqueFd(fd)); }));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(parts)));
}

HttpServer::HttpServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
HttpServer::~HttpServer() = default;

const std::string& HttpServer::address() const { return parts_->listener->address(); }

}  // namespace graft
