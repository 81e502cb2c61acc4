#include "common/base/service_manager.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"

namespace graft {
namespace {

// Of the time that the watchdog grants; two more may be lost or late.
constexpr int kProofsInTime = 3;
// A manager that takes nothing must not hold up the service.
constexpr timeval kMostForSaying = {.tv_sec = 5, .tv_usec = 0};

std::string Take(const char* name) {
  const char* value = std::getenv(name);
  std::string taken = value == nullptr ? "" : value;
  ::unsetenv(name);
  return taken;
}

}  // namespace

ServiceManager ServiceManager::FromEnvironment() {
  ServiceManager manager;
  manager.socket_ = Take("NOTIFY_SOCKET");
  const std::string microseconds = Take("WATCHDOG_USEC");
  const std::string pid = Take("WATCHDOG_PID");
  int64_t time = 0;
  const bool ours = pid.empty() || pid == absl::StrCat(::getpid());
  if (ours && !manager.socket_.empty() && absl::SimpleAtoi(microseconds, &time) && time > 0) {
    manager.watchdog_ = absl::Microseconds(time);
  }
  return manager;
}

void ServiceManager::Ready(absl::string_view status) const {
  Notify(absl::StrCat("READY=1\nSTATUS=", status));
}
void ServiceManager::Stopping() const { Notify("STOPPING=1"); }
void ServiceManager::Alive() const { Notify("WATCHDOG=1"); }

void ServiceManager::Notify(absl::string_view message) const {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const bool is_path = !socket_.empty() && (socket_[0] == '/' || socket_[0] == '@');
  if (!is_path || socket_.size() >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  // A name that begins with @ is one of the abstract namespace, and has no end of its own.
  if (socket_[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size() +
                                           (socket_[0] == '/' ? 1 : 0));
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kMostForSaying, sizeof(kMostForSaying));
  // Whoever asked and is gone misses nothing.
  (void)::sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address), size);
}

Watchdog::Watchdog(const ServiceManager& manager, std::function<void()> prove, Clock& clock)
    : stop_(clock) {
  if (manager.watchdog() == absl::InfiniteDuration()) return;
  thread_ = std::thread([this, &manager, &clock, prove = std::move(prove)] {
    absl::Duration next;  // However long the proof takes, it begins in time.
    do {
      next = clock.Boottime() + manager.watchdog() / kProofsInTime;
      prove();
      manager.Alive();
    } while (!stop_.WaitUntil(next));
  });
  ::pthread_setname_np(thread_.native_handle(), "watchdog");
}

Watchdog::~Watchdog() {
  stop_.Stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace graft
