// Beam search of a batch: num_beams rows of the cache for each prompt.

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "common/base/status_macros.h"
#include "worker/engine/generation/beam_search.h"
#include "worker/engine/generation/generation_run.h"
#include "worker/engine/generation/logits_rules.h"

namespace graft {
namespace {

class BeamRun {
 public:
  BeamRun(const GenerationRun& run, std::vector<int64_t> rows)
      : run_(run),
        rows_(std::move(rows)),
        beams_(run.options.generation.num_beams),
        rules_(run.options.generation) {}

  absl::Status Run() {
    const GenerationConfig& config = run_.options.generation;
    const Gpt2Network& network = *run_.prompts[static_cast<size_t>(rows_[0])].network;
    int64_t capacity = 0;
    for (const int64_t row : rows_) capacity = std::max(capacity, run_.Capacity(row));
    KvCache cache(network, static_cast<int64_t>(rows_.size()) * beams_, capacity);
    RETURN_IF_ERROR(run_.stop.Poll());
    at::Tensor logits = run_.Prefill(rows_, cache);
    std::vector<int64_t> places;  // Rows of the cache: prompt i's beams are at i * beams_ and on.
    for (size_t i = 0; i < rows_.size(); ++i) {
      searches_.emplace_back(
          BeamSearch::Options{beams_, config.length_penalty, config.early_stopping,
                              run_.options.max_new_tokens, run_.options.end_of_text_id},
          run_.BeginningOf(rows_[i]));
      places.insert(places.end(), static_cast<size_t>(beams_), static_cast<int64_t>(i));
    }
    cache.Select(places);
    logits = logits.index_select(0, at::tensor(places, at::kLong).to(logits.device()));
    for (;;) {
      Advance(logits);
      auto [parents, next] = Settle();
      if (next.empty()) return absl::OkStatus();
      RETURN_IF_ERROR(run_.stop.Poll());
      cache.Select(parents);
      logits = DecodeStep(at::tensor(next, at::kLong).to(logits.device()), cache);
    }
  }

 private:
  // Hands each search its best continuations.
  void Advance(const at::Tensor& logits) {
    std::vector<std::vector<int32_t>> sequences;
    std::vector<float> running;
    for (const BeamSearch& search : searches_) {
      running.insert(running.end(), search.scores().begin(), search.scores().end());
      if (!rules_.active()) continue;
      sequences.insert(sequences.end(), search.sequences().begin(), search.sequences().end());
    }
    const at::Tensor scores = at::log_softmax(logits.to(at::kFloat), 1).contiguous();
    rules_.Apply(sequences, scores);
    scores.add_(at::tensor(running, at::kFloat).to(scores.device()).unsqueeze(1));
    const int64_t vocabulary = scores.size(1);
    const auto [best, places] =
        scores.view({static_cast<int64_t>(searches_.size()), -1}).topk(2 * beams_);
    const at::Tensor host_best = best.to(at::kCPU).contiguous();
    const at::Tensor host_places = places.to(at::kCPU).contiguous();
    const float* score = host_best.const_data_ptr<float>();
    const int64_t* place = host_places.const_data_ptr<int64_t>();
    std::vector<BeamSearch::Candidate> candidates(static_cast<size_t>(2 * beams_));
    for (BeamSearch& search : searches_) {
      for (BeamSearch::Candidate& candidate : candidates) {
        candidate = {*score++, *place / vocabulary, static_cast<int32_t>(*place % vocabulary)};
        ++place;
      }
      search.Advance(candidates);
    }
  }

  // Takes the prompts that are done out of the batch. For each beam of the others: the row of the
  // cache that it goes on from, and its newest token.
  std::pair<std::vector<int64_t>, std::vector<int64_t>> Settle() {
    std::vector<int64_t> parents, next, rows;
    std::vector<BeamSearch> staying;
    for (size_t i = 0; i < searches_.size(); ++i) {
      if (searches_[i].done()) {
        Record(searches_[i].best().ids, rows_[i]);
        continue;
      }
      for (size_t beam = 0; beam < static_cast<size_t>(beams_); ++beam) {
        parents.push_back(static_cast<int64_t>(i) * beams_ + searches_[i].parents()[beam]);
        next.push_back(searches_[i].sequences()[beam].back());
      }
      rows.push_back(rows_[i]);
      staying.push_back(std::move(searches_[i]));
    }
    searches_ = std::move(staying);
    run_.TellDone(rows_.size() - rows.size());
    rows_ = std::move(rows);
    return {std::move(parents), std::move(next)};
  }

  void Record(std::vector<int32_t> ids, int64_t row) const {
    Generated& result = run_.results[static_cast<size_t>(row)];
    result.ended = !ids.empty() && ids.back() == run_.options.end_of_text_id;
    if (result.ended) ids.pop_back();
    result.ids = std::move(ids);
    if (!run_.on_token) return;
    for (const int32_t id : result.ids) run_.on_token(row, id);
  }

  const GenerationRun& run_;
  std::vector<int64_t> rows_;
  const int64_t beams_;
  const LogitsRules rules_;
  std::vector<BeamSearch> searches_;  // Of rows_.
};

}  // namespace

absl::Status RunBeams(const GenerationRun& run, std::vector<int64_t> rows) {
  return BeamRun(run, std::move(rows)).Run();
}

}  // namespace graft
