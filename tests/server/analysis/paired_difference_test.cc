#include "server/analysis/paired_difference.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

v1::PairedDifference Compared(const RowScores& ours, const RowScores& theirs) {
  v1::PairedDifference difference;
  EXPECT_TRUE(CompareRows(ours, theirs, difference).ok());
  return difference;
}

TEST(PairedDifferenceTest, OnlyRowsThatBothScoredCount) {
  const v1::PairedDifference difference =
      Compared({{0, 0.2}, {1, 1.0}, {4, 0.5}}, {{0, 0.1}, {1, 0.9}, {2, 0.3}});
  EXPECT_EQ(difference.rows(), 2);
  EXPECT_NEAR(difference.mean(), 0.1, 1e-12);
  EXPECT_NEAR(difference.low(), 0.1, 1e-12);
  EXPECT_NEAR(difference.high(), 0.1, 1e-12);
  EXPECT_EQ(Compared({{0, 0.1}}, {{1, 0.2}}).not_comparable(), "no row was scored by both");
}

TEST(PairedDifferenceTest, ScoresOfAnotherKindAreNotCompared) {
  v1::ScoringFingerprint ours, theirs;
  EXPECT_EQ(WhyNotComparable(ours, theirs), "");
  ours.set_use_stemmer(true);
  ours.set_sentence_splitter("newline");
  EXPECT_EQ(WhyNotComparable(ours, theirs),
            "use_stemmer is true, not false; sentence_splitter is \"newline\", not \"\"");
  ours.set_decoding("greedy");
  theirs.set_samples_sha256("x");
  EXPECT_EQ(WhyNotComparable(ours, theirs), "they scored different references");
}

TEST(RowsNeededTest, IsTheSquareOfTheRatioOfDeviationAndMean) {
  // Mean 0.1, standard deviation 0.2: (1.959964 * 2)^2 = 15.37.
  std::vector<double> differences;
  for (int i = 0; i < 100; ++i) differences.push_back(0.1 + (i % 2 == 0 ? 0.199 : -0.199));
  EXPECT_EQ(RowsNeeded(differences), 16);
  EXPECT_EQ(RowsNeeded({0.3, 0.3}), 1);
  EXPECT_EQ(RowsNeeded({0.3, -0.3}), 0) << "they are alike";
  EXPECT_EQ(RowsNeeded({0.3}), 0);
  EXPECT_EQ(RowsNeeded({}), 0);
  EXPECT_EQ(RowsNeeded({1, -1 + 1e-15}), 0) << "more rows than there are numbers";
}

}  // namespace
}  // namespace graft
