#include "common/base/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace graft {
namespace {

constexpr char kClef[] = "\xF0\x9D\x84\x9E";  // U+1D11E, four bytes.

TEST(Utf8Test, ACutNeverFallsIntoACharacter) {
  const std::string text = std::string("ab") + kClef + "cd";
  const char* const begins[] = {"", "a", "ab", "ab", "ab", "ab", "ab\xF0\x9D\x84\x9E"};
  for (size_t cut = 0; cut < std::size(begins); ++cut) {
    EXPECT_EQ(Shortened(text, cut), std::string(begins[cut]) + "…") << cut;
  }
  EXPECT_EQ(Shortened(text, text.size()), text);
  EXPECT_EQ(Shortened(text, 1000), text);
}

TEST(Utf8Test, WhateverTheBytesWhatIsShownIsUtf8) {
  for (const std::string& bytes :
       {std::string("\xFF\xFE raw"), std::string(9, '\x80'), std::string("\xF0\x9D\x84"),
        std::string("a\0b\xC0\xAF", 5), std::string("\xED\xA0\x80")}) {
    for (size_t cut = 0; cut <= bytes.size(); ++cut) {
      EXPECT_EQ(FindInvalidUtf8(Shortened(bytes, cut)), absl::string_view::npos) << bytes << cut;
    }
  }
  EXPECT_EQ(Shortened("\xFF raw", 100), "\xEF\xBF\xBD raw");
}

TEST(Utf8Test, EachIllFormedPieceIsOneReplacement) {
  EXPECT_EQ(ToValidUtf8("\xF0\x9D\x84 a \xC0\xAF"), "\xEF\xBF\xBD a \xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(ToValidUtf8(kClef), kClef);
}

}  // namespace
}  // namespace graft
