#include "server/http/guard.h"

#include "gtest/gtest.h"
#include "server/http/answers.h"

namespace graft {
namespace {

HttpRequest RequestTo(const std::string& host) {
  HttpRequest request;
  request.method = "POST";
  request.headers["host"] = host;
  request.headers["content-type"] = kJsonType;
  request.server = "10.0.0.7";
  request.has_body = true;
  return request;
}

int HostStatus(const std::string& host) { return CheckHost(RequestTo(host), {"graft.lab"}).status; }

int ChangeStatus(const HttpRequest& request) { return CheckChange(request, {kJsonType}).status; }

TEST(GuardTest, NamesOfThisServerAreItsHosts) {
  for (const char* host : {"localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.1.2.3",
                           "[::1]:9464", "10.0.0.7:9464", "graft.lab", "Graft.Lab:80"}) {
    EXPECT_EQ(HostStatus(host), 0) << host;
  }
}

TEST(GuardTest, OtherNamesThatLeadHereAreNot) {
  for (const char* host : {"evil.example", "evil.example:9464", "127.0.0.1.evil.example",
                           "localhost.evil.example", "10.0.0.8", "graft.lab.evil.example"}) {
    EXPECT_EQ(HostStatus(host), 421) << host;
  }
  for (const char* host : {"", ":9464", "localhost:0", "localhost:x", "a@localhost", "[::1",
                           "localhost/x", "local host"}) {
    EXPECT_EQ(HostStatus(host), 400) << host;
  }
}

TEST(GuardTest, AnOriginIsTheServersOwn) {
  HttpRequest request = RequestTo("localhost:9464");
  EXPECT_EQ(ChangeStatus(request), 0);
  for (const char* origin : {"http://localhost:9464", "https://LOCALHOST:9464"}) {
    request.headers["origin"] = origin;
    EXPECT_EQ(ChangeStatus(request), 0) << origin;
  }
  for (const char* origin : {"null", "http://localhost", "http://localhost:9465",
                             "http://evil.example", "http://localhost:9464.evil.example"}) {
    request.headers["origin"] = origin;
    EXPECT_EQ(ChangeStatus(request), 403) << origin;
  }
}

TEST(GuardTest, AFormsContentTypesChangeNothing) {
  HttpRequest request = RequestTo("localhost");
  for (const char* type : {"", "text/plain", "application/x-www-form-urlencoded",
                           "multipart/form-data; boundary=x", "text/plain; application/json"}) {
    request.headers["content-type"] = type;
    EXPECT_EQ(ChangeStatus(request), 415) << type;
  }
  request.headers["content-type"] = "Application/JSON; charset=utf-8";
  EXPECT_EQ(ChangeStatus(request), 0);
  // Also without a body: a form's POST may have none.
  request.headers.erase("content-type");
  request.has_body = false;
  EXPECT_EQ(ChangeStatus(request), 415);
  request.method = "DELETE";
  EXPECT_EQ(ChangeStatus(request), 0);
}

}  // namespace
}  // namespace graft
