// Greedy decoding and sampling of a batch, token by token.

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "worker/engine/generation/logits_rules.h"
#include "worker/engine/generation/prompt_batch.h"
#include "worker/engine/generation/sampler.h"

namespace graft {
namespace {

class TokenRun {
 public:
  explicit TokenRun(PromptBatch batch)
      : batch_(std::move(batch)),
        rules_(batch_.options.generation),
        sampler_(batch_.options.generation) {}

  absl::Status Run() {
    for (size_t i = 0; i < batch_.rows.size(); ++i) sequences_.push_back(batch_.Beginning(i));
    KvCache cache(batch_.network, static_cast<int64_t>(batch_.rows.size()), batch_.Capacity());
    RETURN_IF_ERROR(batch_.stop.Poll());
    at::Tensor logits = batch_.Prefill(cache);
    for (int64_t position = 0;; ++position) {
      std::vector<int64_t> next = Choose(logits, position);
      const std::vector<int64_t> staying = Record(next);
      batch_.TellDone(batch_.rows.size() - staying.size());
      if (staying.empty()) return absl::OkStatus();
      RETURN_IF_ERROR(batch_.stop.Poll());
      if (staying.size() < batch_.rows.size()) Leave(staying, next, cache);
      logits = DecodeStep(batch_.network, at::tensor(next, at::kLong).to(logits.device()), cache);
    }
  }

 private:
  std::vector<int64_t> Choose(at::Tensor logits, int64_t position) const {
    if (rules_.active()) {
      logits = logits.to(at::kFloat).contiguous();
      rules_.Apply(sequences_, logits);
    }
    const int64_t batch = logits.size(0);
    std::vector<int64_t> next(static_cast<size_t>(batch));
    if (!batch_.options.generation.do_sample) {
      const at::Tensor best = logits.argmax(1).to(at::kCPU).contiguous();
      std::copy_n(best.const_data_ptr<int64_t>(), batch, next.begin());
      return next;
    }
    const at::Tensor host = logits.to(at::kCPU, at::kFloat).contiguous();
    const size_t vocabulary = static_cast<size_t>(host.size(1));
    for (size_t i = 0; i < next.size(); ++i) {
      next[i] = sampler_.Sample({host.const_data_ptr<float>() + i * vocabulary, vocabulary},
                                batch_.options.first_row + batch_.rows[i], position);
    }
    return next;
  }

  // Notes each row's new token; returns the places in the batch of the rows that go on.
  std::vector<int64_t> Record(const std::vector<int64_t>& next) {
    std::vector<int64_t> staying;
    for (size_t i = 0; i < batch_.rows.size(); ++i) {
      Generated& result = batch_.results[static_cast<size_t>(batch_.rows[i])];
      const auto id = static_cast<int32_t>(next[i]);
      if (id == batch_.options.end_of_text_id) {
        result.ended = true;
        continue;
      }
      result.ids.push_back(id);
      sequences_[i].push_back(id);
      if (batch_.on_token) batch_.on_token(batch_.rows[i], id);
      if (static_cast<int64_t>(result.ids.size()) < batch_.options.max_new_tokens) {
        staying.push_back(static_cast<int64_t>(i));
      }
    }
    return staying;
  }

  void Leave(const std::vector<int64_t>& staying, std::vector<int64_t>& next, KvCache& cache) {
    size_t place = 0;
    for (const int64_t i : staying) {  // In ascending order: nothing is overwritten too early.
      const auto from = static_cast<size_t>(i);
      batch_.rows[place] = batch_.rows[from];
      next[place] = next[from];
      if (place != from) sequences_[place] = std::move(sequences_[from]);
      ++place;
    }
    batch_.rows.resize(place);
    next.resize(place);
    sequences_.resize(place);
    cache.Select(staying);
  }

  PromptBatch batch_;
  const LogitsRules rules_;
  const Sampler sampler_;
  std::vector<std::vector<int32_t>> sequences_;  // Prompts and new tokens of batch_.rows.
};

}  // namespace

absl::Status RunTokens(PromptBatch batch) { return TokenRun(std::move(batch)).Run(); }

}  // namespace graft
