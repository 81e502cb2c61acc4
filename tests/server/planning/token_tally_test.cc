#include "server/planning/token_tally.h"

#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::vector<std::pair<int64_t, int64_t>> Histogram(const v1::TokenCounts& counts) {
  std::vector<std::pair<int64_t, int64_t>> buckets;
  for (const auto& bucket : counts.histogram()) buckets.emplace_back(bucket.up_to(), bucket.rows());
  return buckets;
}

TEST(TokenTallyTest, CountsWhatStandsAndWhatIsCut) {
  TokenTally tally;
  for (int64_t tokens = 1; tokens <= 20; ++tokens) tally.Add(tokens, tokens > 18 ? tokens - 18 : 0);
  const v1::TokenCounts counts = tally.Counts(18);
  EXPECT_EQ(counts.limit(), 18);
  EXPECT_EQ(counts.mean(), 10.5);
  EXPECT_EQ(counts.median(), 10);
  EXPECT_EQ(counts.p95(), 19);
  EXPECT_EQ(counts.max(), 20);
  EXPECT_EQ(counts.tokens(), 210);
  EXPECT_EQ(counts.tokens_cut(), 3);
  EXPECT_EQ(counts.rows_cut(), 2);
}

TEST(TokenTallyTest, TheHistogramHasEveryTextOnceFromTheShortestToTheLongest) {
  TokenTally tally;
  for (const int64_t tokens : {5, 6, 7, 12, 13, 16, 40}) tally.Add(tokens, 0);
  EXPECT_THAT(Histogram(tally.Counts(0)),
              ElementsAre(Pair(6, 2), Pair(8, 1), Pair(12, 1), Pair(16, 2), Pair(24, 0),
                          Pair(32, 0), Pair(48, 1)));
}

TEST(TokenTallyTest, ALongTailHasFewBuckets) {
  TokenTally tally;
  tally.Add(0, 0);
  tally.Add(8'000'000, 0);
  EXPECT_LT(tally.Counts(0).histogram_size(), 50);
  EXPECT_EQ(tally.Counts(0).histogram(0).up_to(), 0);
}

TEST(TokenTallyTest, OneTextIsItsOwnMedian) {
  TokenTally tally;
  tally.Add(7, 0);
  const v1::TokenCounts counts = tally.Counts(0);
  EXPECT_EQ(counts.median(), 7);
  EXPECT_EQ(counts.p95(), 7);
  EXPECT_EQ(TokenTally().Counts(5).histogram_size(), 0);
}

}  // namespace
}  // namespace graft
