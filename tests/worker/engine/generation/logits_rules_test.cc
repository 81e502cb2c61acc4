#include "worker/engine/generation/logits_rules.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <limits>

namespace graft {
namespace {

using testing::ElementsAre;
using Sequences = std::vector<std::vector<int32_t>>;

constexpr float kBanned = -std::numeric_limits<float>::infinity();

std::vector<float> Apply(double penalty, int64_t ngram_size, const Sequences& sequences,
                         const std::vector<float>& scores) {
  GenerationConfig config;
  config.repetition_penalty = penalty;
  config.no_repeat_ngram_size = ngram_size;
  const at::Tensor tensor =
      at::tensor(scores).view({static_cast<int64_t>(sequences.size()), -1}).clone();
  LogitsRules(config).Apply(sequences, tensor);
  return {tensor.const_data_ptr<float>(), tensor.const_data_ptr<float>() + tensor.numel()};
}

TEST(LogitsRulesTest, ByDefaultThereAreNone) {
  EXPECT_FALSE(LogitsRules({}).active());
  EXPECT_THAT(Apply(1, 0, {{0, 1, 0, 1}}, {1, 2}), ElementsAre(1, 2));
}

TEST(LogitsRulesTest, ThePenaltyLowersWhatWasThereOnceHoweverOften) {
  EXPECT_THAT(Apply(2, 0, {{0, 1, 1, 1}}, {3, -3, 5}), ElementsAre(1.5, -6, 5));
}

TEST(LogitsRulesTest, APenaltyBelowOneRewards) {
  EXPECT_THAT(Apply(0.5, 0, {{0, 1}}, {3, -3, 5}), ElementsAre(6, -1.5, 5));
}

TEST(LogitsRulesTest, BansWhatWouldCompleteAnNgramAgain) {
  // 1 2 was followed by 3 and by 0.
  EXPECT_THAT(Apply(1, 3, {{1, 2, 3, 1, 2, 0, 1, 2}}, {7, 7, 7, 7}),
              ElementsAre(kBanned, 7, 7, kBanned));
  // The n-gram may overlap the end that it is compared with.
  EXPECT_THAT(Apply(1, 2, {{1, 1}}, {7, 7}), ElementsAre(7, kBanned));
}

TEST(LogitsRulesTest, NgramsOfOneBanAllThatWasThere) {
  EXPECT_THAT(Apply(1, 1, {{2, 0}}, {7, 7, 7}), ElementsAre(kBanned, 7, kBanned));
}

TEST(LogitsRulesTest, TextShorterThanTheNgramBansNothing) {
  EXPECT_THAT(Apply(1, 3, {{1, 1}, {}}, {7, 7, 7, 7}), ElementsAre(7, 7, 7, 7));
}

TEST(LogitsRulesTest, EachRowHasItsOwnHistory) {
  EXPECT_THAT(Apply(2, 1, {{0}, {1}}, {4, 4, 4, 4}), ElementsAre(kBanned, 4, 4, kBanned));
  EXPECT_THAT(Apply(2, 0, {{0}, {1}}, {4, 4, 4, 4}), ElementsAre(2, 4, 4, 2));
}

}  // namespace
}  // namespace graft
