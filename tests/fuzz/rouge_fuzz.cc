// Two texts, scored: every number is from 0 to 1, and a text against itself has 1. Their sentences
// are parts of them.

#include "common/text/rouge.h"

#include "common/text/sentences.h"
#include "tests/fuzz/fuzz.h"

namespace graft {
namespace {

void CheckScore(const RougeScore& score) {
  for (const double value : {score.precision, score.recall, score.f}) {
    FUZZ_CHECK(value >= 0 && value <= 1);
  }
}

void CheckScores(const RougeScores& scores) {
  for (const RougeScore& score :
       {scores.rouge1, scores.rouge2, scores.rouge_l, scores.rouge_lsum}) {
    CheckScore(score);
  }
}

}  // namespace
}  // namespace graft

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = graft::PartsOf(graft::TextOf(data, size), 2);
  const std::string target(parts[0]), prediction(parts[1]);
  for (const absl::string_view sentence : graft::SplitSentences(target)) {
    FUZZ_CHECK(!sentence.empty() && sentence.data() >= target.data() &&
               sentence.data() + sentence.size() <= target.data() + target.size());
  }
  for (const bool use_stemmer : {false, true}) {
    const graft::RougeOptions options{use_stemmer};
    graft::CheckScores(graft::ScoreRouge(target, prediction, options));
    graft::CheckScores(
        graft::ScoreRouge(std::vector<std::string>{target, prediction}, prediction, options));
    const graft::RougeScores same = graft::ScoreRouge(target, target, options);
    if (!graft::RougeTokens(target, options).empty()) FUZZ_CHECK(same.rouge1.f == 1);
  }
  return 0;
}
