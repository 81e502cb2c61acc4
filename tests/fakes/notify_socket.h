#pragma once

// What systemd is for a service: the socket that NOTIFY_SOCKET names.

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/unique_fd.h"
#include "gtest/gtest.h"

namespace graft {

class NotifySocket {
 public:
  // A path, or "@name".
  explicit NotifySocket(const std::string& name)
      : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    size_t size = offsetof(sockaddr_un, sun_path) + name.size();
    if (name[0] == '@') {
      address.sun_path[0] = '\0';
    } else {
      ++size;
    }
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address),
                     static_cast<socklen_t>(size)),
              0);
    const timeval patience = {.tv_sec = 30, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }

  // Waits for the next one; empty: in vain.
  std::string Next() { return Receive(0); }
  // The one that has come, if any.
  std::string NextNow() { return Receive(MSG_DONTWAIT); }

 private:
  std::string Receive(int flags) {
    std::array<char, 4096> buffer;
    const ssize_t size = ::recv(fd_.get(), buffer.data(), buffer.size(), flags);
    return size < 0 ? "" : std::string(buffer.data(), static_cast<size_t>(size));
  }

  const UniqueFd fd_;
};

}  // namespace graft
