#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace graft {

// Of the process's descriptors so many (a quarter of them, where there are few) are no connections:
// they are for the store, for files and for engines.
inline constexpr int kReservedDescriptors = 256;

// Accepts users' connections and hands them on. gRPC's own listener stops for good when descriptors
// have run out once; this one closes what comes beyond the reserve at once, which its caller hears
// as UNAVAILABLE, and goes on. Owns one thread.
class Listener {
 public:
  struct Options {
    std::string address;  // "host:port"; port 0 takes a free one.
    int max_descriptors;  // RLIMIT_NOFILE.
  };
  // `take` owns the connection, which does not block; it is called on the listener's thread.
  // INVALID_ARGUMENT: no address; UNAVAILABLE: in use, or not an address of this machine.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(const Options& options,
                                                        std::function<void(int fd)> take);
  // At a socket that listens already and does not block; nobody is refused for a lack of
  // descriptors. `address` is for messages. RESOURCE_EXHAUSTED: no descriptor.
  static absl::StatusOr<std::unique_ptr<Listener>> At(UniqueFd socket, std::string address,
                                                      std::function<void(int fd)> take);
  ~Listener();

  // With the port really bound.
  const std::string& address() const { return address_; }

 private:
  Listener(std::vector<UniqueFd> sockets, std::string address, int first_reserved, UniqueFd wake,
           std::function<void(int fd)> take);
  void Run();
  // What waits at `socket`, or a part of it where that is much.
  void Accept(int socket);

  const std::vector<UniqueFd> sockets_;
  const std::string address_;
  const int first_reserved_;  // Descriptors are given out lowest first.
  const UniqueFd wake_;
  const std::function<void(int fd)> take_;
  bool crowded_ = false;  // The thread's own: it was said.
  std::thread thread_;
};

}  // namespace graft
