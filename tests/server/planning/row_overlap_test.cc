#include "server/planning/row_overlap.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::IsEmpty;

// `count` words that no other number has.
std::vector<std::string> Words(int number, int count) {
  std::vector<std::string> words;
  for (int i = 0; i < count; ++i) words.push_back(absl::StrCat("w", number, "x", i));
  return words;
}

std::string Text(const std::vector<std::string>& words) { return absl::StrJoin(words, " "); }

TEST(OverlapFinderTest, TheSameTextIsFoundInAnyCaseAndSpacing) {
  OverlapFinder finder;
  finder.AddValidation(1, "The cat sat.", "Cat sits");
  finder.AddValidation(2, "Another text", "b");
  finder.AddValidation(3, "the CAT sat.", "another target");
  finder.AddTraining(7, "nothing of it", "c");
  finder.AddTraining(8, "  the cat\n\tsat. ", "CAT  sits");
  finder.AddTraining(9, "The cat sat.", "Cat sits");
  const Overlap overlap = finder.Result();
  EXPECT_EQ(overlap.same_sources, 2);
  EXPECT_EQ(overlap.same_pairs, 1);
  EXPECT_EQ(overlap.near_sources, 0);
  ASSERT_EQ(overlap.same.size(), 2u);
  EXPECT_EQ(overlap.same[0].validation_line, 1);
  EXPECT_EQ(overlap.same[0].training_line, 8);
  EXPECT_EQ(overlap.same[1].validation_line, 3);
}

TEST(OverlapFinderTest, TheFirstMatchesAreNamedAndAllAreCounted) {
  OverlapFinder finder;
  for (int i = 1; i <= 10; ++i) finder.AddValidation(i, absl::StrCat("text ", i), "");
  for (int i = 1; i <= 10; ++i) finder.AddTraining(100 + i, absl::StrCat("text ", i), "");
  const Overlap overlap = finder.Result();
  EXPECT_EQ(overlap.same_sources, 10);
  ASSERT_EQ(overlap.same.size(), kMaxMatches);
  EXPECT_EQ(overlap.same[2].training_line, 103);
}

TEST(OverlapFinderTest, EmptyTextsAgreeWithNothing) {
  OverlapFinder finder;
  finder.AddValidation(1, " ", "a");
  finder.AddTraining(1, "", "a");
  EXPECT_EQ(finder.Result().same_sources, 0);
}

TEST(OverlapFinderTest, AWordThatDiffersMakesANearDuplicate) {
  OverlapFinder finder;
  std::vector<std::string> words = Words(1, 100);
  finder.AddValidation(4, Text(words), "");
  words[50] = "other";  // 5 of 96 shingles: J = 91 / 101.
  finder.AddTraining(5, Text(words), "");
  const Overlap overlap = finder.Result();
  EXPECT_EQ(overlap.same_sources, 0);
  EXPECT_EQ(overlap.near_sources, 1);
  ASSERT_EQ(overlap.near.size(), 1u);
  EXPECT_EQ(overlap.near[0].validation_line, 4);
  EXPECT_EQ(overlap.near[0].training_line, 5);
}

TEST(OverlapFinderTest, WhatIsTheSameIsNotNearlySo) {
  OverlapFinder finder;
  std::vector<std::string> words = Words(1, 100);
  finder.AddValidation(1, Text(words), "");
  const std::string same = Text(words);
  words[50] = "other";
  finder.AddTraining(1, Text(words), "");
  finder.AddTraining(2, same, "");
  EXPECT_EQ(finder.Result().same_sources, 1);
  EXPECT_THAT(finder.Result().near, IsEmpty());
}

// A text that is one row's and nearly another's counts for both.
TEST(OverlapFinderTest, ATextMayBeTheSameAsOneRowAndNearAnother) {
  OverlapFinder finder;
  std::vector<std::string> words = Words(1, 100);
  finder.AddValidation(1, Text(words), "");
  words[50] = "other";
  finder.AddValidation(2, Text(words), "");
  finder.AddTraining(3, Text(words), "");
  EXPECT_EQ(finder.Result().same_sources, 1);
  EXPECT_EQ(finder.Result().near_sources, 1);
}

// 1,000 pairs of texts of 200 words, in which every k-th word differs, so that J is about as said.
class NearDuplicatesTest : public ::testing::Test {
 protected:
  static int64_t CountFound(int last_words_that_differ) {
    OverlapFinder finder;
    for (int i = 0; i < 1000; ++i) finder.AddValidation(i + 1, Text(Words(i, 204)), "");
    for (int i = 0; i < 1000; ++i) {
      std::vector<std::string> words = Words(i, 204);
      const std::vector<std::string> others = Words(5000 + i, 204);
      for (int w = 204 - last_words_that_differ; w < 204; ++w) words[w] = others[w];
      finder.AddTraining(i + 1, Text(words), "");
    }
    return finder.Result().near_sources;
  }
};

// 200 shingles; with d words that differ at the end J = (200 - d) / (200 + d).
TEST_F(NearDuplicatesTest, AtLeast95PercentAreFoundAtTheLeastResemblance) {
  EXPECT_GE(CountFound(22), 950);  // J = 0.802.
}
TEST_F(NearDuplicatesTest, BelowItNoneIs) {
  EXPECT_EQ(CountFound(23), 0);  // J = 0.794.
}

}  // namespace
}  // namespace graft
