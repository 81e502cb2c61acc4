#include "worker/engine/generation/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace graft {
namespace {

uint64_t Mix(uint64_t x) {  // The finaliser of SplitMix64 (Steele et al. 2014).
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

double Uniform(uint64_t seed, int64_t row, int64_t position) {
  const uint64_t x =
      Mix(Mix(Mix(seed) ^ static_cast<uint64_t>(row)) ^ static_cast<uint64_t>(position));
  return static_cast<double>(x >> 11) * 0x1.0p-53;
}

// Sets all but the k largest values (and those equal to the k-th) to zero.
void KeepTopK(int64_t k, std::vector<double>& weights) {
  if (k <= 0 || k >= static_cast<int64_t>(weights.size())) return;
  std::vector<double> sorted = weights;
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<double>());
  const double threshold = sorted[static_cast<size_t>(k - 1)];
  for (double& weight : weights) {
    if (weight < threshold) weight = 0;
  }
}

// TopPLogitsWarper: in ascending order, what lies within the first 1 - p of the mass is removed.
void KeepTopP(double p, std::vector<double>& weights) {
  if (p >= 1) return;
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return weights[a] < weights[b]; });
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double cumulative = 0;
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    cumulative += weights[order[i]] / total;
    if (cumulative > 1 - p) break;
    weights[order[i]] = 0;
  }
}

}  // namespace

std::vector<double> Sampler::Probabilities(std::span<const float> logits) const {
  std::vector<double> weights(logits.size());
  const float largest = *std::max_element(logits.begin(), logits.end());
  if (largest == -std::numeric_limits<float>::infinity()) {  // The rules have banned every token.
    weights[0] = 1;
    return weights;
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    weights[i] = std::exp((static_cast<double>(logits[i]) - largest) / config_.temperature);
  }
  KeepTopK(config_.top_k, weights);
  KeepTopP(config_.top_p, weights);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= total;
  return weights;
}

int64_t Sampler::Sample(std::span<const float> logits, int64_t row, int64_t position) const {
  const std::vector<double> probabilities = Probabilities(logits);
  double rest = Uniform(config_.seed, row, position);
  int64_t last = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0) continue;
    last = static_cast<int64_t>(i);
    rest -= probabilities[i];
    if (rest < 0) break;
  }
  return last;
}

}  // namespace graft
