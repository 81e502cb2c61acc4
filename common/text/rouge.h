#pragma once

// ROUGE-1, -2, -L and -Lsum, bit-equal to rouge_score 0.1.2 with its default tokeniser (C.-Y. Lin,
// "ROUGE: a package for automatic evaluation of summaries", 2004). All functions are pure and
// thread-safe.
//
// Tokens are runs of [a-z0-9] in the text after Unicode's lower-casing (docs/EVALUATION.md); bytes
// that are no valid UTF-8 separate tokens like any other sign.

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

// Each from 0 to 1. F is the harmonic mean of precision and recall, 0 if both are.
struct RougeScore {
  double precision = 0;
  double recall = 0;
  double f = 0;
};

struct RougeScores {
  RougeScore rouge1;
  RougeScore rouge2;
  RougeScore rouge_l;     // the texts as one sequence, whatever lines they have
  RougeScore rouge_lsum;  // sentence by sentence, which end at newlines; what papers on
                          // CNN/DailyMail call ROUGE-L
};

struct RougeOptions {
  bool use_stemmer = false;  // Porter's, on tokens of more than three characters
};

RougeScores ScoreRouge(absl::string_view target, absl::string_view prediction,
                       const RougeOptions& options);

// Several references: for each type the scores of the reference with the best F, of equal ones the
// first (RougeScorer.score_multi). No references: all 0.
RougeScores ScoreRouge(absl::Span<const std::string> targets, absl::string_view prediction,
                       const RougeOptions& options);

// ROUGE-1 and ROUGE-2 only, for loops over many candidates.
struct RougeNgramScores {
  RougeScore rouge1;
  RougeScore rouge2;
};
RougeNgramScores ScoreRougeNgrams(absl::string_view target, absl::string_view prediction,
                                  const RougeOptions& options);

// The tokens that are compared, in order.
std::vector<std::string> RougeTokens(absl::string_view text, const RougeOptions& options);

}  // namespace graft
