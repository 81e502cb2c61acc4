#include "server/http/answers.h"

#include "common/errors/status_details.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

TEST(AnswersTest, AnErrorHasCodeMessageStatusAndDetails) {
  const absl::Status status =
      WithRetryDelay(FieldViolation("job.spec", "is missing"), absl::Seconds(2));
  const auto error = nlohmann::json::parse(ErrorJson(status, 400))["error"];
  EXPECT_EQ(error["code"], 400);
  EXPECT_EQ(error["status"], "INVALID_ARGUMENT");
  EXPECT_EQ(error["message"], "job.spec: is missing");
  bool violated = false;
  for (const auto& detail : error["details"]) {
    if (detail["@type"] != "type.googleapis.com/google.rpc.BadRequest") continue;
    violated = true;
    EXPECT_EQ(detail["field_violations"][0]["field"], "job.spec");
  }
  EXPECT_TRUE(violated) << error;
}

TEST(AnswersTest, ADetailThatIsNotKnownIsLeftOut) {
  absl::Status status = absl::NotFoundError("x");
  status.SetPayload("type.googleapis.com/other.Detail", absl::Cord("?"));
  const auto error = nlohmann::json::parse(ErrorJson(status, 404))["error"];
  EXPECT_FALSE(error.contains("details"));
  EXPECT_EQ(error["message"], "x");
}

TEST(AnswersTest, CodesAreThoseOfGoogleRpcCode) {
  EXPECT_EQ(HttpStatusOf(absl::StatusCode::kOk), 200);
  EXPECT_EQ(HttpStatusOf(absl::StatusCode::kFailedPrecondition), 400);
  EXPECT_EQ(HttpStatusOf(absl::StatusCode::kAborted), 409);
  EXPECT_EQ(HttpStatusOf(absl::StatusCode::kResourceExhausted), 429);
  EXPECT_EQ(HttpStatusOf(absl::StatusCode::kDataLoss), 500);
  EXPECT_EQ(HttpStatusOf(absl::StatusCode::kUnavailable), 503);
}

}  // namespace
}  // namespace graft
