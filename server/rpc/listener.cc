#include "server/rpc/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/telemetry/exposer.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

// While the system has no descriptor, or no memory, for another connection; and after any error
// that may last.
constexpr absl::Duration kPause = absl::Milliseconds(100);
// Then it looks at what else there is, its own end too.
constexpr int kMostAtATime = 64;

absl::Status CannotListen(const std::string& address, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address, ": ", why,
                   ": the port is in use, or this is no address of this machine"));
}

uint16_t PortOf(int socket) {
  sockaddr_storage bound;
  socklen_t size = sizeof(bound);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
}

// Invalid, with errno: it cannot.
UniqueFd ListenAt(const addrinfo& place, bool both_families) {
  UniqueFd socket(
      ::socket(place.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, place.ai_protocol));
  if (!socket.valid()) return socket;
  const int on = 1;
  const int v6_only = both_families ? 0 : 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // Inherited by what is accepted.
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (place.ai_family == AF_INET6) {
    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
  }
  if (::bind(socket.get(), place.ai_addr, place.ai_addrlen) == 0 &&
      ::listen(socket.get(), SOMAXCONN) == 0) {
    return socket;
  }
  const int error = errno;
  socket.Reset();
  errno = error;
  return socket;
}

// Listens at each address that `host` has; those of a family that the machine lacks are left out.
absl::StatusOr<std::vector<UniqueFd>> ListenAtAll(const std::string& address,
                                                  const std::string& host, int port,
                                                  bool both_families) {
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* places = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &places);
  if (failed != 0) return CannotListen(address, ::gai_strerror(failed));
  const absl::Cleanup free_places = [places] { ::freeaddrinfo(places); };
  std::vector<UniqueFd> sockets;
  std::string why = "no address";
  for (addrinfo* place = places; place != nullptr; place = place->ai_next) {
    // One free port for all of them.
    if (port == 0 && !sockets.empty()) {
      const uint16_t taken = htons(PortOf(sockets[0].get()));
      if (place->ai_family == AF_INET6) {
        reinterpret_cast<sockaddr_in6*>(place->ai_addr)->sin6_port = taken;
      } else {
        reinterpret_cast<sockaddr_in*>(place->ai_addr)->sin_port = taken;
      }
    }
    UniqueFd socket = ListenAt(*place, both_families);
    if (socket.valid()) {
      sockets.push_back(std::move(socket));
      continue;
    }
    why = std::strerror(errno);
    if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) return CannotListen(address, why);
  }
  if (sockets.empty()) return CannotListen(address, why);
  return sockets;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(const Options& options,
                                                         std::function<void(int fd)> take) {
  ASSIGN_OR_RETURN(const HostPort asked, ParseHostPort(options.address));
  absl::StatusOr<std::vector<UniqueFd>> sockets = absl::UnavailableError("");
  // All addresses of one family mean those of the other, too, where there is one.
  if (asked.host == "0.0.0.0") sockets = ListenAtAll(options.address, "::", asked.port, true);
  if (!sockets.ok()) {
    sockets = ListenAtAll(options.address, asked.host, asked.port, asked.host == "::");
  }
  RETURN_IF_ERROR(sockets.status());
  const bool v6 = absl::StrContains(asked.host, ':');
  std::string address =
      absl::StrCat(v6 ? "[" : "", asked.host, v6 ? "]" : "", ":", PortOf(sockets->front().get()));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ResourceExhaustedError("cannot make an eventfd");
  const int reserve = std::min(kReservedDescriptors, options.max_descriptors / 4);
  return std::unique_ptr<Listener>(new Listener(*std::move(sockets), std::move(address),
                                                options.max_descriptors - reserve, std::move(wake),
                                                std::move(take)));
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::At(UniqueFd socket, std::string address,
                                                       std::function<void(int fd)> take) {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ResourceExhaustedError("cannot make an eventfd");
  std::vector<UniqueFd> sockets;
  sockets.push_back(std::move(socket));
  return std::unique_ptr<Listener>(new Listener(std::move(sockets), std::move(address),
                                                std::numeric_limits<int>::max(), std::move(wake),
                                                std::move(take)));
}

Listener::Listener(std::vector<UniqueFd> sockets, std::string address, int first_reserved,
                   UniqueFd wake, std::function<void(int fd)> take)
    : sockets_(std::move(sockets)),
      address_(std::move(address)),
      first_reserved_(first_reserved),
      wake_(std::move(wake)),
      take_(std::move(take)),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "listener");
}

Listener::~Listener() {
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof(one));
  thread_.join();
}

void Listener::Run() {
  std::vector<pollfd> waited = {{wake_.get(), POLLIN, 0}};
  for (const UniqueFd& socket : sockets_) waited.push_back({socket.get(), POLLIN, 0});
  while (true) {
    if (::poll(waited.data(), waited.size(), -1) < 0) continue;
    if (waited[0].revents != 0) return;
    for (size_t i = 1; i < waited.size(); ++i) {
      if (waited[i].revents != 0) Accept(waited[i].fd);
    }
  }
}

void Listener::Accept(int socket) {
  for (int i = 0; i < kMostAtATime; ++i) {
    UniqueFd connection(::accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!connection.valid()) {
      // A connection that was given up concerns no other.
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) Clock::Real().SleepFor(kPause);
      return;
    }
    const bool crowded = connection.get() >= first_reserved_;
    if (crowded && !crowded_) {
      Log(LogLevel::kWarning, "connections are refused: too many are open",
          {{"descriptors", absl::StrCat(connection.get())}});
    }
    crowded_ = crowded;
    if (!crowded) take_(connection.Release());
  }
}

}  // namespace graft
