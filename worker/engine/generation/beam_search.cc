#include "worker/engine/generation/beam_search.h"

#include <algorithm>
#include <cmath>

namespace graft {
namespace {

constexpr float kUnreachable = -1e9f;

}  // namespace

BeamSearch::BeamSearch(const Options& options, const std::vector<int32_t>& prompt)
    : options_(options),
      prompt_length_(prompt.size()),
      sequences_(static_cast<size_t>(options.num_beams), prompt),
      scores_(static_cast<size_t>(options.num_beams), kUnreachable),
      parents_(static_cast<size_t>(options.num_beams), 0) {
  scores_[0] = 0;
}

bool BeamSearch::Ends(const Candidate& candidate) const {
  return candidate.id == options_.end_of_text_id || length_ == options_.max_new_tokens;
}

float BeamSearch::Penalised(float score, int64_t length) const {
  const double divisor = std::pow(static_cast<double>(length), options_.length_penalty);
  return score / static_cast<float>(divisor);
}

void BeamSearch::Advance(std::span<const Candidate> candidates) {
  ++length_;
  Finish(candidates.first(static_cast<size_t>(options_.num_beams)));
  Continue(candidates);
  const bool all_finished = static_cast<int64_t>(finished_.size()) == options_.num_beams;
  done_ = length_ == options_.max_new_tokens || !CanImprove() ||
          (all_finished && options_.early_stopping == BeamEarlyStopping::kTrue);
}

// Only the num_beams best candidates may finish: the others are there to go on instead of them.
void BeamSearch::Finish(std::span<const Candidate> candidates) {
  for (const Candidate& candidate : candidates) {
    if (!Ends(candidate)) continue;
    const float score = Penalised(candidate.score, length_);
    if (!(score > kUnreachable)) continue;
    const std::vector<int32_t>& parent = sequences_[static_cast<size_t>(candidate.beam)];
    Hypothesis& hypothesis = finished_.emplace_back();
    hypothesis.ids.assign(parent.begin() + static_cast<int64_t>(prompt_length_), parent.end());
    hypothesis.ids.push_back(candidate.id);
    hypothesis.score = score;
  }
  std::stable_sort(finished_.begin(), finished_.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  if (static_cast<int64_t>(finished_.size()) > options_.num_beams) {
    finished_.resize(static_cast<size_t>(options_.num_beams));
  }
}

void BeamSearch::Continue(std::span<const Candidate> candidates) {
  std::vector<std::vector<int32_t>> sequences;
  std::vector<float> scores;
  std::vector<int64_t> parents;
  for (const bool ended : {false, true}) {  // One that ended only if there is nothing else.
    for (const Candidate& candidate : candidates) {
      if (scores.size() == scores_.size()) break;
      if (Ends(candidate) != ended) continue;
      sequences.push_back(sequences_[static_cast<size_t>(candidate.beam)]);
      sequences.back().push_back(candidate.id);
      scores.push_back(ended ? kUnreachable : candidate.score);
      parents.push_back(candidate.beam);
    }
  }
  sequences_ = std::move(sequences);
  scores_ = std::move(scores);
  parents_ = std::move(parents);
}

// A heuristic where the length penalty is not 0, but transformers' one.
bool BeamSearch::CanImprove() const {
  const bool to_the_end =
      options_.early_stopping == BeamEarlyStopping::kNever && options_.length_penalty > 0;
  const float best = Penalised(scores_[0], to_the_end ? options_.max_new_tokens : length_);
  const bool all_finished = static_cast<int64_t>(finished_.size()) == options_.num_beams;
  return best > (all_finished ? finished_.back().score : kUnreachable);
}

}  // namespace graft
