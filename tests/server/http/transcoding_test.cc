#include "server/http/transcoding.h"

#include "gmock/gmock.h"
#include "graft/v1/dataset.pb.h"
#include "graft/v1/job.pb.h"
#include "gtest/gtest.h"
#include "server/http/answers.h"

namespace graft {
namespace {

using testing::HasSubstr;

const RouteTable& Routes() {
  static const RouteTable table(PublicServices());
  return table;
}

absl::StatusOr<std::unique_ptr<google::protobuf::Message>> Request(const std::string& verb,
                                                                   absl::string_view url,
                                                                   absl::string_view body = "") {
  const auto target = ParseTarget(url);
  if (!target.ok()) return target.status();
  const auto match = Routes().Find(verb, *target);
  if (!match.ok()) return match.status();
  return MakeRequest(*match, target->query, body);
}

std::string Json(const std::string& verb, absl::string_view url, absl::string_view body = "") {
  const auto request = Request(verb, url, body);
  return request.ok() ? ToJson(**request) : std::string(request.status().message());
}

TEST(TranscodingTest, PathAndQueryBecomeFields) {
  EXPECT_EQ(Json("GET", "/v1/jobs/k3f9"), R"({"name":"jobs/k3f9"})");
  EXPECT_EQ(Json("GET", "/v1/jobs?page_size=5&filter=done%20%3D%20true"),
            R"({"page_size":5,"filter":"done = true"})");
  EXPECT_EQ(Json("GET", "/v1/jobs/k3f9/events?after_sequence=12"),
            R"({"name":"jobs/k3f9","after_sequence":"12"})");
  EXPECT_EQ(Json("GET", "/v1/jobs/k/metrics?metrics=train/loss&metrics=eval/loss&max_points=9"),
            R"({"name":"jobs/k","metrics":["train/loss","eval/loss"],"max_points":9})");
  EXPECT_EQ(Json("DELETE", "/v1/jobs/k?delete_adapter"),
            R"({"name":"jobs/k","delete_adapter":true})");
  EXPECT_EQ(Json("PATCH", "/v1/jobs/k?update_mask=priority,display_name", R"({"priority":3})"),
            R"({"job":{"name":"jobs/k","priority":3},"update_mask":"priority,displayName"})");
}

TEST(TranscodingTest, TheBodyIsTheRequestOrAFieldOfIt) {
  EXPECT_EQ(Json("POST", "/v1/jobs/k:cancel", R"({"save_checkpoint":true})"),
            R"({"name":"jobs/k","save_checkpoint":true})");
  EXPECT_EQ(Json("POST", "/v1/jobs/k:pause"), R"({"name":"jobs/k"})");
  EXPECT_EQ(Json("POST", "/v1/jobs?validate_only=true", R"({"displayName":"x"})"),
            R"({"job":{"display_name":"x"},"validate_only":true})");
  EXPECT_EQ(Json("PUT", "/v1/datasets/news?metadata.format=csv&metadata.size_bytes=7"),
            R"({"metadata":{"name":"news","format":"DATASET_FORMAT_CSV","size_bytes":"7"}})");
}

TEST(TranscodingTest, ThePathWinsOverTheBody) {
  EXPECT_EQ(Json("POST", "/v1/jobs/k:cancel", R"({"name":"jobs/other"})"), R"({"name":"jobs/k"})");
}

TEST(TranscodingTest, EnumsMayBeShort) {
  EXPECT_EQ(Json("GET", "/v1/jobs/k/log?stream=engine"),
            R"({"name":"jobs/k","stream":"JOB_LOG_STREAM_ENGINE"})");
  EXPECT_EQ(Json("GET", "/v1/jobs/k/rows?order=ROW_ORDER_WORST"),
            R"({"name":"jobs/k","order":"ROW_ORDER_WORST"})");
  EXPECT_EQ(
      Json("POST", "/v1/jobs:plan", R"({"spec":{"fine_tune":{"training":{"schedule":"cosine"}}}})"),
      R"({"spec":{"fine_tune":{"training":{"schedule":"SCHEDULE_COSINE"}}}})");
}

TEST(TranscodingTest, ErrorsSayWhere) {
  EXPECT_THAT(Json("GET", "/v1/jobs?page_sise=5"), HasSubstr("did you mean page_size?"));
  EXPECT_THAT(Json("POST", "/v1/jobs", R"({"spec":{"fine_tun":{}}})"),
              HasSubstr("job.spec.fine_tun: there is no such field; did you mean fine_tune?"));
  EXPECT_THAT(Json("GET", "/v1/jobs/k/log?stream=engin"),
              HasSubstr("stream: \"engin\" is not one of"));
  EXPECT_THAT(Json("GET", "/v1/jobs?page_size=many"), HasSubstr("page_size"));
  EXPECT_THAT(Json("DELETE", "/v1/jobs/k?delete_adapter=1"), HasSubstr("must be true or false"));
  EXPECT_THAT(Json("DELETE", "/v1/jobs/k", "{}"), HasSubstr("there must be none"));
  EXPECT_THAT(Json("POST", "/v1/jobs/k:cancel", "[1]"), HasSubstr("must be a JSON object"));
  EXPECT_THAT(Json("POST", "/v1/jobs/k:cancel", "{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(Json("GET", "/v1/jobs?page_size.x=1"), HasSubstr("page_size.x"));
  EXPECT_THAT(Json("PATCH", "/v1/jobs/k?job.labels=1", "{}"),
              HasSubstr("can only be given in a body"));
}

TEST(TranscodingTest, ABodyAsDeepAsItIsLongIsRefused) {
  const auto request = Request("POST", "/v1/jobs", "{\"spec\":" + std::string(100'000, '['));
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TranscodingTest, SpacesKeepTheirValuesForms) {
  EXPECT_EQ(
      Json("POST", "/v1/studies",
           R"({"space":{"fine_tune.method":{"choices":{"values":[{"lora":{"rank":4}}]}}}})"),
      R"({"study":{"space":{"fine_tune.method":{"choices":{"values":[{"lora":{"rank":4}}]}}}}})");
}

}  // namespace
}  // namespace graft
