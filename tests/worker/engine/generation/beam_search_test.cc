#include "worker/engine/generation/beam_search.h"

#include <gmock/gmock.h>

#include <limits>

namespace graft {
namespace {

using testing::ElementsAre;
using Ids = std::vector<int32_t>;
using Candidates = std::vector<BeamSearch::Candidate>;

constexpr int32_t kEnd = 9;

// Two beams; what a candidate says: score, beam, token.
BeamSearch::Options Two(BeamEarlyStopping stopping = BeamEarlyStopping::kFalse,
                        double length_penalty = 1) {
  return {2, length_penalty, stopping, 5, kEnd};
}

TEST(BeamSearchTest, BeginsWithOneBeamThatCounts) {
  const BeamSearch search(Two(), {4, 5});
  EXPECT_THAT(search.sequences(), ElementsAre(Ids{4, 5}, Ids{4, 5}));
  EXPECT_THAT(search.scores(), ElementsAre(0, -1e9f));
  EXPECT_FALSE(search.done());
}

TEST(BeamSearchTest, TheBestUnfinishedCandidatesRunOn) {
  BeamSearch search(Two(), {4});
  search.Advance(Candidates{{-1, 0, 1}, {-2, 0, 2}, {-3, 0, 3}, {-4, 0, 6}});
  search.Advance(Candidates{{-2, 1, kEnd}, {-3, 1, 5}, {-4, 0, 6}, {-5, 0, 7}});
  EXPECT_THAT(search.sequences(), ElementsAre(Ids{4, 2, 5}, Ids{4, 1, 6}));
  EXPECT_THAT(search.scores(), ElementsAre(-3, -4));
  EXPECT_THAT(search.parents(), ElementsAre(1, 0));
  EXPECT_FALSE(search.done());
}

TEST(BeamSearchTest, OnlyTheFirstNumBeamsCandidatesMayFinish) {
  BeamSearch search(Two(BeamEarlyStopping::kTrue), {4});
  search.Advance(Candidates{{-1, 0, 1}, {-2, 0, kEnd}, {-3, 0, 3}, {-4, 0, 6}});
  search.Advance(Candidates{{-2, 0, 1}, {-3, 0, 2}, {-4, 0, kEnd}, {-5, 1, 6}});
  EXPECT_FALSE(search.done());  // Only one has finished.
  search.Advance(Candidates{{-3, 0, kEnd}, {-4, 0, 2}, {-5, 1, 5}, {-6, 1, 6}});
  EXPECT_TRUE(search.done());
  EXPECT_EQ(search.best().ids, (Ids{1, 1, kEnd}));  // -3 / 3, better than -2 / 1.
  EXPECT_FLOAT_EQ(search.best().score, -1);
}

TEST(BeamSearchTest, WithoutEarlyStoppingItGoesOnWhileARunningBeamIsBetter) {
  const Candidates first = {{-1, 0, kEnd}, {-4, 0, kEnd}, {-5, 0, 3}, {-6, 0, 6}};
  BeamSearch early(Two(BeamEarlyStopping::kTrue), {4});
  early.Advance(first);
  EXPECT_TRUE(early.done());
  // -5 / 1 is no better than -4; five tokens later it could be.
  BeamSearch heuristic(Two(), {4});
  heuristic.Advance(first);
  EXPECT_TRUE(heuristic.done());
  BeamSearch never(Two(BeamEarlyStopping::kNever), {4});
  never.Advance(first);
  EXPECT_FALSE(never.done());
  BeamSearch short_texts(Two(BeamEarlyStopping::kNever, -1), {4});
  short_texts.Advance(first);
  EXPECT_TRUE(short_texts.done());
}

TEST(BeamSearchTest, TheLengthPenaltyDecidesBetweenShortAndLong) {
  for (const double penalty : {0.0, 2.0}) {
    BeamSearch search(Two(BeamEarlyStopping::kTrue, penalty), {});
    search.Advance(Candidates{{-1, 0, kEnd}, {-1.5, 0, 1}, {-2, 0, 2}, {-3, 0, 3}});
    search.Advance(Candidates{{-1.75, 0, kEnd}, {-2, 0, 1}, {-3, 1, 2}, {-4, 1, 3}});
    ASSERT_TRUE(search.done());
    EXPECT_EQ(search.best().ids, penalty > 0 ? (Ids{1, kEnd}) : (Ids{kEnd}));
  }
}

TEST(BeamSearchTest, AtMaxNewTokensEveryBeamFinishes) {
  BeamSearch search({2, 1, BeamEarlyStopping::kNever, 2, kEnd}, {4});
  search.Advance(Candidates{{-1, 0, 1}, {-2, 0, 2}, {-3, 0, 3}, {-4, 0, 6}});
  search.Advance(Candidates{{-2, 0, 5}, {-3, 1, kEnd}, {-4, 0, 6}, {-5, 0, 7}});
  EXPECT_TRUE(search.done());
  EXPECT_EQ(search.best().ids, (Ids{1, 5}));
}

TEST(BeamSearchTest, WhereEveryTokenIsBannedTheTextIsEmpty) {
  const float banned = -std::numeric_limits<float>::infinity();
  BeamSearch search({2, 1, BeamEarlyStopping::kFalse, 1, kEnd}, {4});
  search.Advance(Candidates{{banned, 0, 0}, {banned, 0, 1}, {banned, 1, 0}, {banned, 1, 1}});
  EXPECT_TRUE(search.done());
  EXPECT_EQ(search.best().ids, Ids());
}

}  // namespace
}  // namespace graft
