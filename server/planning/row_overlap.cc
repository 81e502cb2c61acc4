#include "server/planning/row_overlap.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/strings/ascii.h"

namespace graft {
namespace {

constexpr size_t kBands = 8;
constexpr size_t kBandRows = 4;
constexpr size_t kHashes = kBands * kBandRows;
// Candidates that a row of the training is compared with: more of them agree with one another.
constexpr int kMaxCandidates = 64;
constexpr size_t kMaxPlacesInBand = 256;

// SplitMix64's finaliser (Steele et al. 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

uint64_t HashOfWord(absl::string_view word) {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a.
  for (const char c : word) {
    hash = (hash ^ static_cast<unsigned char>(absl::ascii_tolower(static_cast<unsigned char>(c)))) *
           0x100000001B3u;
  }
  return Mix(hash);
}

std::vector<uint64_t> HashesOfWords(absl::string_view text) {
  std::vector<uint64_t> hashes;
  size_t end = 0;
  for (size_t begin = 0; begin < text.size(); begin = end) {
    const auto is_space = [&](size_t at) {
      return absl::ascii_isspace(static_cast<unsigned char>(text[at]));
    };
    while (begin < text.size() && is_space(begin)) ++begin;
    end = begin;
    while (end < text.size() && !is_space(end)) ++end;
    if (end > begin) hashes.push_back(HashOfWord(text.substr(begin, end - begin)));
  }
  return hashes;
}

uint64_t HashOfWords(const std::vector<uint64_t>& words, size_t begin, size_t end) {
  uint64_t hash = end - begin;
  for (size_t i = begin; i < end; ++i) hash = hash * 0x9E3779B97F4A7C15u + words[i];
  return Mix(hash);
}

// In the order of the text, repeated ones too. Of fewer words there is none: such texts agree
// nearly only where they agree.
std::vector<uint64_t> ShinglesOf(const std::vector<uint64_t>& words) {
  std::vector<uint64_t> shingles;
  for (size_t end = kShingleWords; end <= words.size(); ++end) {
    shingles.push_back(HashOfWords(words, end - kShingleWords, end));
  }
  return shingles;
}

void SortOnce(std::vector<uint64_t>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

using BandKeys = std::array<uint64_t, kBands>;

// The functions x -> a x + b mod 2^64 with odd a, of which the upper half counts.
struct HashFunctions {
  std::array<uint64_t, kHashes> a, b;
  HashFunctions() {
    for (size_t i = 0; i < kHashes; ++i) {
      a[i] = Mix(2 * i) | 1;
      b[i] = Mix(2 * i + 1);
    }
  }
};

BandKeys BandsOf(const std::vector<uint64_t>& shingles) {
  static const HashFunctions functions;
  std::array<uint64_t, kHashes> least;
  least.fill(std::numeric_limits<uint64_t>::max());
  for (const uint64_t shingle : shingles) {
    for (size_t i = 0; i < kHashes; ++i) {
      least[i] = std::min(least[i], (functions.a[i] * shingle + functions.b[i]) >> 32);
    }
  }
  BandKeys keys;
  for (size_t band = 0; band < kBands; ++band) {
    keys[band] = Mix(band);
    for (size_t i = 0; i < kBandRows; ++i) {
      keys[band] = Mix(keys[band] ^ least[band * kBandRows + i]);
    }
  }
  return keys;
}

// Of sorted sets.
double Jaccard(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  size_t both = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    both += a[i] == b[j];
    const bool next_a = a[i] <= b[j];
    const bool next_b = b[j] <= a[i];
    i += next_a;
    j += next_b;
  }
  return static_cast<double>(both) / static_cast<double>(a.size() + b.size() - both);
}

}  // namespace

void OverlapFinder::AddValidation(int64_t line, absl::string_view source,
                                  absl::string_view target) {
  const auto place = static_cast<uint32_t>(rows_.size());
  ValidationRow& row = rows_.emplace_back();
  row.line = line;
  const std::vector<uint64_t> words = HashesOfWords(source);
  if (words.empty()) return;
  const uint64_t hash = HashOfWords(words, 0, words.size());
  const std::vector<uint64_t> target_words = HashesOfWords(target);
  by_source_[hash].push_back(place);
  by_pair_[Mix(hash) ^ HashOfWords(target_words, 0, target_words.size())].push_back(place);
  row.shingles = ShinglesOf(words);
  if (row.shingles.empty()) return;
  SortOnce(row.shingles);
  for (const uint64_t key : BandsOf(row.shingles)) {
    Places& places = by_band_[key];
    if (places.size() < kMaxPlacesInBand) places.push_back(place);
  }
}

void OverlapFinder::AddTraining(int64_t line, absl::string_view source, absl::string_view target) {
  const std::vector<uint64_t> words = HashesOfWords(source);
  if (words.empty()) return;
  const uint64_t hash = HashOfWords(words, 0, words.size());
  const auto same = by_source_.find(hash);
  if (same != by_source_.end()) {
    for (const uint32_t place : same->second) {
      if (rows_[place].same == 0) rows_[place].same = line;
    }
    const std::vector<uint64_t> target_words = HashesOfWords(target);
    const auto pair = by_pair_.find(Mix(hash) ^ HashOfWords(target_words, 0, target_words.size()));
    if (pair != by_pair_.end()) {
      for (const uint32_t place : pair->second) rows_[place].same_pair = true;
    }
  }
  FindNear(line, ShinglesOf(words));
}

void OverlapFinder::FindNear(int64_t line, const std::vector<uint64_t>& shingles) {
  if (shingles.empty() || by_band_.empty()) return;
  std::vector<uint64_t> sorted;
  int candidates = 0;
  for (const uint64_t key : BandsOf(shingles)) {
    const auto found = by_band_.find(key);
    if (found == by_band_.end()) continue;
    for (const uint32_t place : found->second) {
      ValidationRow& row = rows_[place];
      if (row.same != 0 || row.near != 0) continue;
      if (++candidates > kMaxCandidates) return;
      if (sorted.empty()) {
        sorted = shingles;
        SortOnce(sorted);
      }
      if (Jaccard(row.shingles, sorted) >= kNearJaccard) row.near = line;
    }
  }
}

Overlap OverlapFinder::Result() const {
  Overlap overlap;
  const auto add = [](int64_t& count, std::vector<RowMatch>& matches, const RowMatch& match) {
    ++count;
    if (matches.size() < kMaxMatches) matches.push_back(match);
  };
  for (const ValidationRow& row : rows_) {
    overlap.same_pairs += row.same_pair;
    if (row.same != 0) {
      add(overlap.same_sources, overlap.same, {row.line, row.same});
    } else if (row.near != 0) {
      add(overlap.near_sources, overlap.near, {row.line, row.near});
    }
  }
  return overlap;
}

}  // namespace graft
