#include "server/http/url.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(UrlTest, PathAndQueryAreParted) {
  const auto target = ParseTarget("/v1/jobs/k3f9/events?after_sequence=7&a=&b");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_THAT(target->segments, ElementsAre("v1", "jobs", "k3f9", "events"));
  EXPECT_THAT(target->query,
              ElementsAre(Pair("after_sequence", "7"), Pair("a", ""), Pair("b", "")));
}

TEST(UrlTest, TheQueryIsDecodedAndThePathIsNot) {
  const auto target = ParseTarget("/a%2Fb?filter=state+%3D%20%22RUNNING%22&x=%26%3d");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_THAT(target->segments, ElementsAre("a%2Fb"));
  EXPECT_THAT(target->query, ElementsAre(Pair("filter", "state = \"RUNNING\""), Pair("x", "&=")));
}

TEST(UrlTest, WhatIsNoUrlIsRefused) {
  for (const char* bad : {"", "*", "http://x/v1/jobs", "/x?a=%", "/x?a=%4", "/x?a=%zz", "/x?a=%00",
                          "/x?a=%ff", "/x?%c3%28=1"}) {
    EXPECT_EQ(ParseTarget(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace graft
