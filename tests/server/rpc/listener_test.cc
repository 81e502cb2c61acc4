#include "server/rpc/listener.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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
