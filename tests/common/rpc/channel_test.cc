#include "common/rpc/channel.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace graft {
namespace {

std::map<std::string, int> NumbersOf(const grpc::ChannelArguments& arguments) {
  const grpc_channel_args raw = arguments.c_channel_args();
  std::map<std::string, int> numbers;
  for (size_t i = 0; i < raw.num_args; ++i) {
    if (raw.args[i].type == GRPC_ARG_INTEGER) numbers[raw.args[i].key] = raw.args[i].value.integer;
  }
  return numbers;
}

// That a worker comes back in time is shown by tests/integration/test_outage.py, which takes
// minutes.
TEST(ChannelTest, PausesBetweenAttemptsStayFarBelowALease) {
  const std::map<std::string, int> numbers = NumbersOf(ChannelArgumentsToServer());
  EXPECT_EQ(numbers.at(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS), 1'000);
  EXPECT_EQ(numbers.at(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS), 3'000);
}

// More often than the server allows, and it would close the connection.
TEST(ChannelTest, PingsAreNoMoreThanTheServerAllows) {
  EXPECT_GE(NumbersOf(ChannelArgumentsToServer()).at(GRPC_ARG_KEEPALIVE_TIME_MS), 5'000);
}

}  // namespace
}  // namespace graft
