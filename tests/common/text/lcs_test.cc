#include "common/text/lcs.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace graft {
namespace {

using Tokens = std::vector<int32_t>;
using Table = std::vector<std::vector<uint16_t>>;

// The table and the way back as rouge_score has them (_lcs_table, _backtrack_norec).
Table MakeTable(const Tokens& reference, const Tokens& candidate) {
  Table table(reference.size() + 1, std::vector<uint16_t>(candidate.size() + 1));
  for (size_t i = 1; i <= reference.size(); ++i) {
    for (size_t j = 1; j <= candidate.size(); ++j) {
      table[i][j] = reference[i - 1] == candidate[j - 1]
                        ? table[i - 1][j - 1] + 1
                        : std::max(table[i - 1][j], table[i][j - 1]);
    }
  }
  return table;
}

std::vector<size_t> WayBack(const Table& table, const Tokens& reference, const Tokens& candidate) {
  std::vector<size_t> indices;
  size_t i = reference.size();
  size_t j = candidate.size();
  while (i > 0 && j > 0) {
    if (reference[i - 1] == candidate[j - 1]) {
      indices.push_back(--i);
      --j;
    } else if (table[i][j - 1] > table[i - 1][j]) {
      --j;
    } else {
      --i;
    }
  }
  return indices;
}

class Random {
 public:
  size_t Below(size_t bound) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state_ >> 33) % bound;
  }
  Tokens Sequence(size_t size, int32_t vocabulary) {
    Tokens tokens(size);
    for (int32_t& token : tokens) token = static_cast<int32_t>(Below(vocabulary));
    return tokens;
  }

 private:
  uint64_t state_ = 1;
};

void ExpectEqualsTable(const Tokens& reference, const Tokens& candidate, LcsMatcher* matcher) {
  const Table table = MakeTable(reference, candidate);
  matcher->SetCandidate(candidate);
  ASSERT_EQ(matcher->Length(reference), table.back().back());
  ASSERT_EQ(matcher->CommonIndices(reference), WayBack(table, reference, candidate));
  ASSERT_EQ(matcher->Length(reference), table.back().back());
}

TEST(LcsMatcherTest, FindsWhatTheTableFinds) {
  Random random;
  LcsMatcher matcher(40);
  for (int round = 0; round < 2000; ++round) {
    const int32_t vocabulary = static_cast<int32_t>(1 + random.Below(40));
    ExpectEqualsTable(random.Sequence(random.Below(70), vocabulary),
                      random.Sequence(random.Below(150), vocabulary), &matcher);
  }
}

TEST(LcsMatcherTest, EdgesOfWordsOfBits) {
  Random random;
  LcsMatcher matcher(3);
  for (const size_t size : {63, 64, 65, 127, 128, 129}) {
    ExpectEqualsTable(random.Sequence(size, 3), random.Sequence(size, 3), &matcher);
    ExpectEqualsTable(Tokens(size, 0), Tokens(size, 0), &matcher);
  }
}

// So long that the table is made again block by block.
TEST(LcsMatcherTest, FindsTheSameInLongTexts) {
  Random random;
  LcsMatcher matcher(300);
  ExpectEqualsTable(random.Sequence(4300, 300), random.Sequence(4200, 300), &matcher);
  ExpectEqualsTable(random.Sequence(270000, 300), random.Sequence(20, 300), &matcher);
}

}  // namespace
}  // namespace graft
