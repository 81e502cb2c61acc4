#include "common/jobs/job_filter.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/errors/status_details.h"
#include "common/jobs/method.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(JobFilterTest, TermsAreRead) {
  const auto filter = ParseJobFilter(
      R"( state = "RUNNING" AND study=s-1 AND labels.team = "a \"b\" \\ AND" AND method = lora+last_layers
          AND base_model = "m" AND done = false AND display_name = "" )");
  ASSERT_TRUE(filter.ok()) << filter.status();
  EXPECT_EQ(filter->state, v1::JOB_STATE_RUNNING);
  EXPECT_EQ(filter->study, "s-1");
  EXPECT_THAT(filter->labels, ElementsAre(Pair("team", "a \"b\" \\ AND")));
  EXPECT_EQ(filter->method, "lora+last_layers");
  EXPECT_EQ(filter->base_model, "m");
  EXPECT_EQ(filter->done, false);
  EXPECT_EQ(filter->display_name, "");
}

TEST(JobFilterTest, EmptyFilterHoldsForAll) {
  const auto filter = ParseJobFilter("  ");
  ASSERT_TRUE(filter.ok());
  EXPECT_FALSE(filter->state || filter->done || filter->study || filter->method ||
               filter->base_model || filter->display_name);
  EXPECT_TRUE(filter->labels.empty());
}

TEST(JobFilterTest, TimesAreRangesWithTheirBeginningAndWithoutTheirEnd) {
  const auto filter = ParseJobFilter(
      R"(create_time >= "2026-11-01T00:00:00Z" AND end_time<="2026-11-02T01:00:00.5+01:00" AND end_time > "2026-11-01T12:00:00Z")");
  ASSERT_TRUE(filter.ok()) << filter.status();
  const absl::Time november = absl::FromUnixSeconds(1'793'491'200);
  EXPECT_EQ(filter->create_time->from, november);
  EXPECT_EQ(filter->create_time->before, absl::InfiniteFuture());
  EXPECT_TRUE(filter->create_time->Contains(november));
  EXPECT_FALSE(filter->create_time->Contains(november - absl::Nanoseconds(1)));
  const absl::Time last = november + absl::Hours(24) + absl::Milliseconds(500);
  EXPECT_TRUE(filter->end_time->Contains(last));
  EXPECT_FALSE(filter->end_time->Contains(last + absl::Nanoseconds(1)));
  EXPECT_FALSE(filter->end_time->Contains(november + absl::Hours(12)));
  EXPECT_TRUE(filter->end_time->Contains(november + absl::Hours(12) + absl::Nanoseconds(1)));
  EXPECT_FALSE(ParseJobFilter("done = true")->end_time.has_value());
}

TEST(JobFilterTest, WhatDoesNotParseIsRefusedWithItsPlace) {
  const std::pair<std::string, std::string> cases[] = {
      {"colour = red", "unknown field colour"},
      {"state = SLEEPING", "no such state: SLEEPING"},
      {"state = RUNNING OR done = true", "expected AND"},
      {"state = RUNNING done = true", "expected AND"},
      {"state RUNNING", "expected ="},
      {"state =", "expected a value at byte 8"},
      {"= RUNNING", "expected a field at byte 1"},
      {"state = \"RUNNING", "expected a closing quote"},
      {"state = \"RUNNING\\", "expected a closing quote"},
      {"study = a AND study = b", "names study twice"},
      {"study = a AND", "expected a field"},
      {"done = maybe", "true or false"},
      {"labels. = x", "unknown field labels."},
      {"study < s", "study is compared by =, not by <"},
      {"priority < 3", "unknown field priority"},
      {"state == RUNNING", "expected a value at byte 8"},
      {"end_time < > \"2026-11-01T00:00:00Z\"", "expected a value at byte 12"},
      {"end_time <> \"2026-11-01T00:00:00Z\"", "expected a value"},
      {"end_time = \"2026-11-01T00:00:00Z\"", "by <, <=, > or >=, not by ="},
      {"end_time < \"2026-11-01\"",
       "a time like \"2026-11-01T00:00:00Z\", not with \"2026-11-01\""},
      {"end_time < yesterday", "a time like"},
      {"end_time < infinite-future", "a time like"},
      {"end_time < \"2026-13-01T00:00:00Z\"", "a time like"},
      {"end_time < 2026-11-01T00:00:00Z", "expected AND at byte"},
      {"end_time < \"2026-11-01T00:00:00Z\" AND end_time <= \"2026-11-01T00:00:00Z\"",
       "names end_time twice"},
      {std::string(kMaxFilterBytes + 1, ' '), "longer than"},
  };
  for (const auto& [text, message] : cases) {
    const absl::Status status = ParseJobFilter(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    ASSERT_EQ(FieldViolationsOf(status).size(), 1u);
    EXPECT_EQ(FieldViolationsOf(status)[0].field(), "filter");
  }
}

TEST(JobFilterTest, TermsAreBounded) {
  std::string text = "labels.k0 = v";
  for (int i = 1; i < kMaxFilterTerms; ++i) text += " AND labels.k" + std::to_string(i) + " = v";
  EXPECT_TRUE(ParseJobFilter(text).ok());
  EXPECT_FALSE(ParseJobFilter(text + " AND study = s").ok());
}

TEST(JobFilterTest, AdaptersHaveTheirOwnTerms) {
  const auto filter = ParseAdapterFilter("base_model = m AND job = \"jobs/a\"");
  ASSERT_TRUE(filter.ok());
  EXPECT_EQ(filter->base_model, "m");
  EXPECT_EQ(filter->job, "jobs/a");
  EXPECT_FALSE(ParseAdapterFilter("state = RUNNING").ok());
  EXPECT_FALSE(ParseAdapterFilter("job < \"jobs/a\"").ok());
}

TEST(JobFilterTest, OrdersAreThree) {
  EXPECT_EQ(*ParseJobOrder(""), JobOrder::kNewestFirst);
  EXPECT_EQ(*ParseJobOrder("create_time desc"), JobOrder::kNewestFirst);
  EXPECT_EQ(*ParseJobOrder(" create_time "), JobOrder::kOldestFirst);
  EXPECT_EQ(*ParseJobOrder("priority desc"), JobOrder::kPriority);
  EXPECT_EQ(ParseJobOrder("name").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MethodNameTest, PartsAreJoinedInAFixedOrder) {
  v1::Method method;
  EXPECT_EQ(MethodName(method), "");
  method.mutable_last_layers();
  method.mutable_lora();
  EXPECT_EQ(MethodName(method), "lora+last_layers");
  method.mutable_soft_prompt();
  EXPECT_EQ(MethodName(method), "lora+soft_prompt+last_layers");
  v1::JobSpec spec;
  spec.mutable_fine_tune()->mutable_method()->mutable_full();
  EXPECT_EQ(MethodName(spec), "full");
  spec.mutable_evaluate();
  EXPECT_EQ(MethodName(spec), "evaluate");
}

}  // namespace
}  // namespace graft
