#include "common/telemetry/exposer.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

std::string HttpGet(const std::string& address, const std::string& path) {
  const auto parsed = ParseHostPort(address);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in peer = {};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(parsed->port);
  inet_pton(AF_INET, parsed->host.c_str(), &peer.sin_addr);
  if (connect(fd, reinterpret_cast<sockaddr*>(&peer), sizeof(peer)) != 0) return "no connection";
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  if (write(fd, request.data(), request.size()) < 0) return "no write";
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  close(fd);
  return answer;
}

TEST(ExposerTest, ServesMetricsOnAFreePort) {
  MetricRegistry registry;
  registry.AddCounter("graft_calls_total", "Calls.", {}).Add({});
  const auto exposer = MetricsExposer::Start("127.0.0.1:0", registry);
  ASSERT_TRUE(exposer.ok()) << exposer.status();
  const std::string answer = HttpGet((*exposer)->address(), "/metrics");
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("graft_calls_total 1"));
}

TEST(ExposerTest, APortInUseIsNamed) {
  MetricRegistry registry;
  const auto first = MetricsExposer::Start("127.0.0.1:0", registry);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = MetricsExposer::Start((*first)->address(), registry);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr((*first)->address()));
}

TEST(ExposerTest, AddressesAreParsedAndBrokenOnesRefused) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:80")->port, 80);
  EXPECT_EQ(ParseHostPort("[::1]:80")->host, "::1");
  for (const char* broken : {"", "127.0.0.1", ":80", "h:", "h:70000", "h:-1", "h:x"}) {
    EXPECT_EQ(ParseHostPort(broken).status().code(), absl::StatusCode::kInvalidArgument) << broken;
  }
  EXPECT_TRUE(IsLoopback("127.0.0.1"));
  EXPECT_TRUE(IsLoopback("::1"));
  EXPECT_FALSE(IsLoopback("0.0.0.0"));
}

}  // namespace
}  // namespace graft
