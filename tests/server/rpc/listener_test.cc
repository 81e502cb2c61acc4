#include "server/rpc/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Asks on a connection of its own, which is tried for a second; true: there was an answer.
bool IsServed(const std::string& address) {
  grpc::ChannelArguments own;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  own.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  own.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  own.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  const auto stub = v1::JobService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), own));
  const auto context = CallContext();
  v1::ListJobsResponse response;
  return stub->ListJobs(context.get(), {}, &response).ok();
}

TEST(ListenerTest, TheAddressIsBoundOrRefusedByName) {
  const auto drop = [](int fd) { ::close(fd); };
  const auto first = Listener::Open({"127.0.0.1:0", 1000}, drop);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT((*first)->address(), StartsWith("127.0.0.1:"));
  const auto second = Listener::Open({(*first)->address(), 1000}, drop);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr((*first)->address()));
  EXPECT_EQ(Listener::Open({"192.0.2.1:0", 1000}, drop).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(Listener::Open({"nonsense", 1000}, drop).status().code(),
            absl::StatusCode::kInvalidArgument);
  for (const char* every : {"0.0.0.0:0", "localhost:0"}) {
    const auto open = Listener::Open({every, 1000}, drop);
    EXPECT_TRUE(open.ok()) << open.status();
  }
}

TEST(ListenerTest, ServesAgainAfterDescriptorsHaveRunOut) {
  TestServer server;
  ASSERT_TRUE(IsServed(server.rpc().address()));
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit low = limit;
  low.rlim_cur = 512;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<UniqueFd> taken;
  // One is left, which a connection has at its own end.
  while (true) {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) break;
    taken.push_back(std::move(fd));
  }
  taken.pop_back();
  EXPECT_FALSE(IsServed(server.rpc().address()));
  taken.clear();
  EXPECT_TRUE(IsServed(server.rpc().address()));
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

// Of this process, the socket that listens on 127.0.0.1 at the port of `address`.
int SocketThatListensAt(const std::string& address) {
  for (int fd = 0; fd < 1024; ++fd) {
    int listens = 0;
    socklen_t size = sizeof(listens);
    sockaddr_in bound = {};
    socklen_t bound_size = sizeof(bound);
    if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &bound_size) != 0) {
      continue;
    }
    if (absl::StrCat("127.0.0.1:", ntohs(bound.sin_port)) == address) return fd;
  }
  return -1;
}

// Connects to the socket of this process, and leaves again.
bool Knock(int socket) {
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
         ::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) == 0;
}

TEST(ListenerTest, EndsThoughItsSocketFailsForGood) {
  absl::Notification taken, broken;
  const auto listener = *Listener::Open({"127.0.0.1:0", 1000}, [&](int fd) {
    ::close(fd);
    taken.Notify();
    broken.WaitForNotification();
  });
  const int socket = SocketThatListensAt(listener->address());
  ASSERT_TRUE(Knock(socket));
  taken.WaitForNotification();
  EXPECT_EQ(::shutdown(socket, SHUT_RDWR), 0);
  broken.Notify();
}

TEST(ListenerTest, EndsThoughThereIsAlwaysAnotherConnection) {
  absl::Notification known, taken;
  int socket = -1;
  // The next has come before this one is seen to.
  const auto listener = *Listener::Open({"127.0.0.1:0", 1000}, [&](int fd) {
    ::close(fd);
    known.WaitForNotification();
    EXPECT_TRUE(Knock(socket));
    if (!taken.HasBeenNotified()) taken.Notify();
  });
  socket = SocketThatListensAt(listener->address());
  known.Notify();
  ASSERT_TRUE(Knock(socket));
  taken.WaitForNotification();
}

TEST(ListenerTest, WhatComesBeyondTheReserveIsClosedAtOnce) {
  TestServer server;
  Mutex mutex;
  int taken = 0;
  const auto listener = *Listener::Open({"127.0.0.1:0", 8}, [&](int fd) {
    ::close(fd);
    MutexLock lock(mutex);
    ++taken;
  });
  EXPECT_FALSE(IsServed(listener->address()));
  MutexLock lock(mutex);
  EXPECT_EQ(taken, 0) << "of 8 descriptors more are open already";
}

}  // namespace
}  // namespace graft
