#include "common/text/rouge.h"

#include <algorithm>

#include "common/text/lcs.h"
#include "common/text/rouge_tokens.h"

namespace graft {
namespace {

// The scores of `common` units that a prediction and a target share (scoring.Score and
// scoring.fmeasure of rouge_score, whose order of operations this keeps).
RougeScore ScoreOf(size_t common, size_t target_size, size_t prediction_size) {
  RougeScore score;
  score.precision =
      static_cast<double>(common) / static_cast<double>(std::max<size_t>(prediction_size, 1));
  score.recall =
      static_cast<double>(common) / static_cast<double>(std::max<size_t>(target_size, 1));
  if (score.precision + score.recall > 0) {
    score.f = 2 * score.precision * score.recall / (score.precision + score.recall);
  }
  return score;
}

// How many of the elements the two sorted lists share, counted with multiplicity.
size_t CountShared(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  size_t shared = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) ++shared;
    const bool advance_a = a[i] <= b[j];
    const bool advance_b = b[j] <= a[i];
    i += advance_a;
    j += advance_b;
  }
  return shared;
}

// N-grams as numbers, sorted. n is 1 or 2.
std::vector<uint64_t> Ngrams(const std::vector<int32_t>& ids, size_t n) {
  std::vector<uint64_t> ngrams;
  ngrams.reserve(ids.size());
  for (size_t i = 0; i + n <= ids.size(); ++i) {
    ngrams.push_back(n == 1 ? ids[i] : uint64_t{static_cast<uint32_t>(ids[i])} << 32 | ids[i + 1]);
  }
  std::sort(ngrams.begin(), ngrams.end());
  return ngrams;
}

// A text with what does not depend on the other side.
struct Side {
  RougeText text;
  std::vector<uint64_t> unigrams;
  std::vector<uint64_t> bigrams;
};

Side ReadSide(absl::string_view text, RougeVocabulary* vocabulary) {
  Side side;
  side.text = vocabulary->Read(text);
  side.unigrams = Ngrams(side.text.ids, 1);
  side.bigrams = Ngrams(side.text.ids, 2);
  return side;
}

RougeScore ScoreNgrams(const std::vector<uint64_t>& target,
                       const std::vector<uint64_t>& prediction) {
  return ScoreOf(CountShared(target, prediction), target.size(), prediction.size());
}

RougeScore ScoreLcs(const RougeText& target, const RougeText& prediction, LcsMatcher* matcher) {
  if (target.ids.empty() || prediction.ids.empty()) return {};
  matcher->SetCandidate(prediction.ids);
  return ScoreOf(matcher->Length(target.ids), target.ids.size(), prediction.ids.size());
}

std::vector<int32_t> CountTokens(const RougeText& text, int32_t vocabulary_size) {
  std::vector<int32_t> counts(vocabulary_size);
  for (const int32_t id : text.ids) ++counts[id];
  return counts;
}

// Summary-level LCS (section 3.2 of the paper; _summary_level_lcs): the tokens of a target sentence
// that are in its LCS with any sentence of the prediction, each counted at most as often as it
// stands in either text.
RougeScore ScoreUnionLcs(const RougeText& target, const RougeText& prediction,
                         int32_t vocabulary_size, LcsMatcher* matcher) {
  std::vector<char> in_union(target.ids.size());
  for (size_t p = 0; p < prediction.sentence_count(); ++p) {
    matcher->SetCandidate(prediction.sentence(p));
    for (size_t t = 0; t < target.sentence_count(); ++t) {
      const size_t begin = target.sentence_begin(t);
      for (const size_t i : matcher->CommonIndices(target.sentence(t))) in_union[begin + i] = 1;
    }
  }
  std::vector<int32_t> left_in_target = CountTokens(target, vocabulary_size);
  std::vector<int32_t> left_in_prediction = CountTokens(prediction, vocabulary_size);
  size_t hits = 0;
  for (size_t i = 0; i < target.ids.size(); ++i) {
    const int32_t id = target.ids[i];
    if (!in_union[i] || left_in_target[id] == 0 || left_in_prediction[id] == 0) continue;
    ++hits;
    --left_in_target[id];
    --left_in_prediction[id];
  }
  return ScoreOf(hits, target.ids.size(), prediction.ids.size());
}

RougeScores ScoreSides(const Side& target, const Side& prediction, int32_t vocabulary_size) {
  LcsMatcher matcher(vocabulary_size);
  RougeScores scores;
  scores.rouge1 = ScoreNgrams(target.unigrams, prediction.unigrams);
  scores.rouge2 = ScoreNgrams(target.bigrams, prediction.bigrams);
  scores.rouge_l = ScoreLcs(target.text, prediction.text, &matcher);
  scores.rouge_lsum = ScoreUnionLcs(target.text, prediction.text, vocabulary_size, &matcher);
  return scores;
}

}  // namespace

RougeScores ScoreRouge(absl::string_view target, absl::string_view prediction,
                       const RougeOptions& options) {
  RougeVocabulary vocabulary(options.use_stemmer);
  const Side prediction_side = ReadSide(prediction, &vocabulary);
  const Side target_side = ReadSide(target, &vocabulary);
  return ScoreSides(target_side, prediction_side, vocabulary.size());
}

RougeScores ScoreRouge(absl::Span<const std::string> targets, absl::string_view prediction,
                       const RougeOptions& options) {
  RougeVocabulary vocabulary(options.use_stemmer);
  const Side prediction_side = ReadSide(prediction, &vocabulary);
  RougeScores best;
  for (size_t i = 0; i < targets.size(); ++i) {
    const Side target_side = ReadSide(targets[i], &vocabulary);
    const RougeScores scores = ScoreSides(target_side, prediction_side, vocabulary.size());
    for (RougeScore RougeScores::*type : {&RougeScores::rouge1, &RougeScores::rouge2,
                                          &RougeScores::rouge_l, &RougeScores::rouge_lsum}) {
      if (i == 0 || (scores.*type).f > (best.*type).f) best.*type = scores.*type;
    }
  }
  return best;
}

RougeNgramScores ScoreRougeNgrams(absl::string_view target, absl::string_view prediction,
                                  const RougeOptions& options) {
  RougeVocabulary vocabulary(options.use_stemmer);
  const Side prediction_side = ReadSide(prediction, &vocabulary);
  const Side target_side = ReadSide(target, &vocabulary);
  return {ScoreNgrams(target_side.unigrams, prediction_side.unigrams),
          ScoreNgrams(target_side.bigrams, prediction_side.bigrams)};
}

std::vector<std::string> RougeTokens(absl::string_view text, const RougeOptions& options) {
  std::string normal;
  std::vector<std::string> tokens;
  for (const RougeTokenSpan& span : FindRougeTokens(text, options.use_stemmer, &normal)) {
    tokens.push_back(normal.substr(span.begin, span.size));
  }
  return tokens;
}

}  // namespace graft
