#include "server/http/routes.h"

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/studies/field_path.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using google::protobuf::FieldDescriptor;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

const RouteTable& Table() {
  static const RouteTable table(PublicServices());
  return table;
}

absl::StatusOr<RouteTable::Match> Find(const std::string& verb, absl::string_view path) {
  const auto target = ParseTarget(path);
  if (!target.ok()) return target.status();
  return Table().Find(verb, *target);
}

std::string MethodOf(const std::string& verb, absl::string_view path) {
  const auto match = Find(verb, path);
  return match.ok() ? match->route->method->name() : match.status().ToString();
}

TEST(RoutesTest, EveryPublicMethodHasAPathBelowV1) {
  std::map<std::string, int> paths;
  for (const Route& route : Table().routes()) {
    EXPECT_TRUE(absl::StartsWith(route.path, "/v1/")) << route.path;
    ++paths[route.method->full_name()];
  }
  const auto services = PublicServices();
  EXPECT_EQ(services.size(), 7u);
  for (const auto* service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      EXPECT_GT(paths[service->method(i)->full_name()], 0) << service->method(i)->full_name();
    }
  }
}

TEST(RoutesTest, NoTwoMethodsShareAPath) {
  std::map<std::string, std::string> methods;
  for (const Route& route : Table().routes()) {
    const std::string shape =
        absl::StrCat(route.verb, " ", absl::StrJoin(route.segments, "/"), ":", route.custom_verb);
    const auto [other, added] = methods.try_emplace(shape, route.method->name());
    EXPECT_TRUE(added) << route.method->name() << " and " << other->second << ": " << shape;
  }
}

TEST(RoutesTest, WhatPathsNameAreFieldsOfTheRequests) {
  for (const Route& route : Table().routes()) {
    for (const Route::Variable& variable : route.variables) {
      const auto* field = FindField(*route.method->input_type(), variable.field);
      ASSERT_NE(field, nullptr) << route.path;
      EXPECT_EQ(field->type(), FieldDescriptor::TYPE_STRING) << route.path;
    }
    if (route.body.empty() || route.body == "*") continue;
    EXPECT_NE(route.method->input_type()->FindFieldByName(route.body), nullptr) << route.path;
  }
}

TEST(RoutesTest, WhatIsReadHasNoBodyAndUploadsArePut) {
  for (const Route& route : Table().routes()) {
    const bool reads = route.verb == "GET" || route.verb == "DELETE";
    EXPECT_TRUE(route.body.empty() || !reads) << route.path;
    EXPECT_TRUE(route.verb == "PUT" || !route.method->client_streaming()) << route.path;
  }
}

TEST(RoutesTest, PathsLeadToTheirMethods) {
  EXPECT_EQ(MethodOf("POST", "/v1/jobs"), "CreateJob");
  EXPECT_EQ(MethodOf("GET", "/v1/jobs"), "ListJobs");
  EXPECT_EQ(MethodOf("GET", "/v1/jobs:compare"), "CompareJobs");
  EXPECT_EQ(MethodOf("GET", "/v1/jobs/k3f9"), "GetJob");
  EXPECT_EQ(MethodOf("HEAD", "/v1/jobs/k3f9"), "GetJob");
  EXPECT_EQ(MethodOf("POST", "/v1/jobs/k3f9:cancel"), "CancelJob");
  EXPECT_EQ(MethodOf("POST", "/v1/jobs/k3f9/checkpoints/120:pin"), "PinJobCheckpoint");
  EXPECT_EQ(MethodOf("GET", "/v1/adapters/a:download"), "DownloadAdapter");
  EXPECT_EQ(MethodOf("GET", "/v1/studies/s1/events"), "WatchStudy");
  EXPECT_EQ(MethodOf("PUT", "/v1/datasets/news"), "UploadDataset");
  EXPECT_EQ(MethodOf("POST", "/v1/models/tiny:generate"), "Generate");
  EXPECT_EQ(MethodOf("POST", "/v1/adapters/a:generate"), "Generate");
}

TEST(RoutesTest, VariablesAreDecodedSegments) {
  auto match = Find("GET", "/v1/jobs/k%203/artifacts/adapters/a%3Ab/x.json");
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_THAT(match->variables,
              ElementsAre(Pair("name", "jobs/k 3"), Pair("path", "adapters/a:b/x.json")));
  match = Find("PATCH", "/v1/jobs/k3f9");
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_THAT(match->variables, ElementsAre(Pair("job.name", "jobs/k3f9")));
}

TEST(RoutesTest, WhatNothingHasIsNotFound) {
  for (const char* path : {"/", "/v1", "/v1/", "/v1/jobs/", "/v1/job", "/v2/jobs", "/v1/jobs//log",
                           "/v1/jobs/k3f9/artifacts/", "/v1/jobs%2Fk3f9", "/v1//jobs"}) {
    EXPECT_EQ(Find("GET", path).status().code(), absl::StatusCode::kNotFound) << path;
  }
}

TEST(RoutesTest, AnotherVerbIsToldWhichThereAre) {
  const auto match = Find("PUT", "/v1/jobs/k3f9");
  EXPECT_EQ(match.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(match.status().message(), HasSubstr("DELETE and GET and PATCH would"));
}

}  // namespace
}  // namespace graft
