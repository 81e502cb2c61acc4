#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/engine_spec.h"

namespace graft {

// The beam search of one prompt, as transformers 5.23 has it (generation/utils.py, _beam_search,
// with one end-of-text token): which beams run, which have finished, and when it is over. The
// caller computes scores and hands in the best continuations:
//
//   BeamSearch search({...}, prompt);
//   while (!search.done()) {
//     scores of all tokens behind search.sequences(), added to search.scores();
//     search.Advance(the 2 · num_beams best of them, best first);
//     keys and values of running beam i are those of the former beam search.parents()[i];
//   }
//   search.best()
//
// Scores are sums of log-probabilities in float, as there. No torch.
class BeamSearch {
 public:
  struct Options {
    int64_t num_beams = 1;
    double length_penalty = 1;
    BeamEarlyStopping early_stopping = BeamEarlyStopping::kFalse;
    int64_t max_new_tokens = 1;
    int32_t end_of_text_id = 0;
  };
  struct Candidate {
    float score = 0;
    int64_t beam = 0;  // The running beam that it continues.
    int32_t id = 0;
  };
  struct Hypothesis {
    std::vector<int32_t> ids;  // New tokens; the last may be <|endoftext|>.
    float score = 0;           // Sum of log-probabilities / length ^ length_penalty.
  };

  BeamSearch(const Options& options, const std::vector<int32_t>& prompt);

  // The running beams, best first: prompt and new tokens. At the start there are num_beams equal
  // ones, of which all but the first have a score too low to be continued.
  const std::vector<std::vector<int32_t>>& sequences() const { return sequences_; }
  const std::vector<float>& scores() const { return scores_; }
  // Of the running beams, before the last Advance.
  const std::vector<int64_t>& parents() const { return parents_; }

  void Advance(std::span<const Candidate> candidates);

  // No finished beam can be replaced any more, or max_new_tokens are there.
  bool done() const { return done_; }
  // The best finished beam, once done; empty when every token was banned.
  Hypothesis best() const { return finished_.empty() ? Hypothesis() : finished_.front(); }

 private:
  bool Ends(const Candidate& candidate) const;
  float Penalised(float score, int64_t length) const;
  void Finish(std::span<const Candidate> candidates);
  void Continue(std::span<const Candidate> candidates);
  bool CanImprove() const;

  const Options options_;
  const size_t prompt_length_;
  int64_t length_ = 0;  // New tokens.
  std::vector<std::vector<int32_t>> sequences_;
  std::vector<float> scores_;
  std::vector<int64_t> parents_;
  std::vector<Hypothesis> finished_;  // At most num_beams, best first.
  bool done_ = false;
};

}  // namespace graft
