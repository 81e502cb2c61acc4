#include "common/base/json.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

std::string Nested(size_t levels) {
  return absl::StrCat(std::string(levels, '['), std::string(levels, ']'));
}
std::string ErrorOf(absl::string_view text) {
  const auto json = ParseJson(text);
  EXPECT_TRUE(absl::IsInvalidArgument(json.status())) << json.status();
  return std::string(json.status().message());
}

TEST(JsonTest, ParsesAnyValue) {
  EXPECT_EQ(ParseJson(R"({"a": [1, 2.5, "\u00e9"]})").value()["a"][2], "\xc3\xa9");
  EXPECT_EQ(ParseJson(" 7 ").value(), 7);
}

TEST(JsonTest, SaysWhereItIsBroken) {
  EXPECT_THAT(ErrorOf("{\"a\": 1,}"), HasSubstr("at byte 9"));
  EXPECT_THAT(ErrorOf("\"\xff\""), HasSubstr("at byte 2"));
  EXPECT_THAT(ErrorOf(std::string("1\0x", 3)), HasSubstr("a zero byte at byte 2"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("not valid JSON"));
}

TEST(JsonTest, ANumberBeyondADoubleIsAnError) {
  EXPECT_THAT(ErrorOf(R"({"n_embd": 1e999})"), HasSubstr("too large for a double"));
}

// What dumps or copies such a value would run out of stack.
TEST(JsonTest, DeepNestingIsAnError) {
  EXPECT_TRUE(ParseJson(Nested(kMaxJsonDepth)).ok());
  EXPECT_THAT(ErrorOf(Nested(kMaxJsonDepth + 1)), HasSubstr("nested more than 512 levels deep"));
  EXPECT_THAT(ErrorOf(Nested(1'000'000)), HasSubstr("nested more than 512 levels deep"));
}

}  // namespace
}  // namespace graft
