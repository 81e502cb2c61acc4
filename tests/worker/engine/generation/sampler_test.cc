#include "worker/engine/generation/sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace graft {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

// Logits of these probabilities.
std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 3.0f);
  return logits;
}

auto Near(double value) { return DoubleNear(value, 1e-6); }

GenerationConfig Config(double temperature, int64_t top_k, double top_p, uint64_t seed = 1) {
  return {true, temperature, top_k, top_p, seed};
}

TEST(SamplerTest, WithoutFiltersTheProbabilitiesAreTheSoftmax) {
  EXPECT_THAT(Sampler(Config(1, 0, 1)).Probabilities(LogitsOf({0.5, 0.2, 0.3})),
              ElementsAre(Near(0.5), Near(0.2), Near(0.3)));
}

TEST(SamplerTest, TemperatureIsAPowerOfTheProbabilities) {
  // 0.8² : 0.2² = 16 : 1
  EXPECT_THAT(Sampler(Config(0.5, 0, 1)).Probabilities(LogitsOf({0.8, 0.2})),
              ElementsAre(Near(16.0 / 17), Near(1.0 / 17)));
}

TEST(SamplerTest, TopKKeepsTheLikeliestAndWhatEqualsTheLast) {
  EXPECT_THAT(Sampler(Config(1, 2, 1)).Probabilities(LogitsOf({0.1, 0.4, 0.2, 0.3})),
              ElementsAre(0, Near(4.0 / 7), 0, Near(3.0 / 7)));
  EXPECT_THAT(Sampler(Config(1, 2, 1)).Probabilities(LogitsOf({0.25, 0.5, 0.25})),
              ElementsAre(Near(0.25), Near(0.5), Near(0.25)));
  EXPECT_THAT(Sampler(Config(1, 9, 1)).Probabilities(LogitsOf({0.5, 0.5})),
              ElementsAre(Near(0.5), Near(0.5)));
}

TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesP) {
  // transformers removes, from the least likely on, what lies within the first 1 - p of the mass.
  EXPECT_THAT(Sampler(Config(1, 0, 0.75)).Probabilities(LogitsOf({0.1, 0.5, 0.3, 0.1})),
              ElementsAre(0, Near(0.625), Near(0.375), 0));
  EXPECT_THAT(Sampler(Config(1, 0, 0.85)).Probabilities(LogitsOf({0.12, 0.5, 0.3, 0.08})),
              ElementsAre(Near(0.12 / 0.92), Near(0.5 / 0.92), Near(0.3 / 0.92), 0));
  EXPECT_THAT(Sampler(Config(1, 0, 0.01)).Probabilities(LogitsOf({0.4, 0.6})), ElementsAre(0, 1));
}

TEST(SamplerTest, TopPSeesWhatTopKLeft) {
  EXPECT_THAT(Sampler(Config(1, 2, 0.6)).Probabilities(LogitsOf({0.4, 0.3, 0.3 - 1e-3, 1e-3})),
              ElementsAre(Near(0.4 / 0.7), Near(0.3 / 0.7), 0, 0));
}

TEST(SamplerTest, WhereEveryTokenIsBannedTheFirstIsTaken) {
  const float banned = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(Sampler(Config(1, 0, 1)).Probabilities(std::vector<float>{banned, banned}),
              ElementsAre(1, 0));
}

TEST(SamplerTest, FrequenciesFollowTheProbabilities) {
  const Sampler sampler(Config(1, 0, 1));
  const std::vector<float> logits = LogitsOf({0.5, 0.2, 0.3});
  std::vector<double> counts(3);
  constexpr int kDraws = 30000;
  for (int i = 0; i < kDraws; ++i) counts[static_cast<size_t>(sampler.Sample(logits, i, 7))] += 1;
  // Chi-square with two degrees of freedom: above 13.8 in one of 1,000 runs; the seed is fixed.
  double chi_square = 0;
  const double expected[] = {0.5 * kDraws, 0.2 * kDraws, 0.3 * kDraws};
  for (int i = 0; i < 3; ++i) {
    chi_square += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
  }
  EXPECT_LT(chi_square, 13.8);
}

TEST(SamplerTest, ADrawDependsOnSeedRowAndPositionOnly) {
  const std::vector<float> logits(1000, 0.0f);
  const Sampler sampler(Config(1, 0, 1, 5));
  EXPECT_EQ(sampler.Sample(logits, 3, 4), Sampler(Config(1, 0, 1, 5)).Sample(logits, 3, 4));
  EXPECT_NE(sampler.Sample(logits, 3, 4), sampler.Sample(logits, 4, 4));
  EXPECT_NE(sampler.Sample(logits, 3, 4), sampler.Sample(logits, 3, 5));
  EXPECT_NE(sampler.Sample(logits, 3, 4), Sampler(Config(1, 0, 1, 6)).Sample(logits, 3, 4));
}

}  // namespace
}  // namespace graft
