#include "common/jobs/message_json.h"

#include "gmock/gmock.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/study.pb.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(MessageJsonTest, EnumValuesGetTheirFullNames) {
  json job = {{"spec", {{"fineTune", {{"training", {{"schedule", "Linear"}}}}}}}};
  ASSERT_TRUE(MakeExactJson(*v1::Job::descriptor(), "", job).ok());
  EXPECT_EQ(job["spec"]["fineTune"]["training"]["schedule"], "SCHEDULE_LINEAR");
}

TEST(MessageJsonTest, ErrorsHaveThePath) {
  json job = {{"spec", {{"fine_tune", {{"training", {{"schedule", "linaer"}}}}}}}};
  EXPECT_THAT(MakeExactJson(*v1::Job::descriptor(), "job", job).ToString(),
              HasSubstr("job.spec.fine_tune.training.schedule: \"linaer\" is not one of"));
  job = {{"warnings", {{{"code", "A"}}, {{"cod", "B"}}}}};
  EXPECT_THAT(MakeExactJson(*v1::Job::descriptor(), "", job).ToString(),
              HasSubstr("warnings[1].cod: there is no such field; did you mean code?"));
}

TEST(MessageJsonTest, WhatHasAFormOfItsOwnIsLeft) {
  json choices = {{"values", {{{"lora", {{"rank", 4}}}}}}};
  const json before = choices;
  EXPECT_TRUE(MakeExactJson(*v1::Dimension::Choices::descriptor(), "", choices).ok());
  EXPECT_EQ(choices, before);
}

}  // namespace
}  // namespace graft
