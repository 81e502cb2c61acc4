// Greedy decoding and sampling, token by token.

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "worker/engine/generation/generation_run.h"
#include "worker/engine/generation/logits_rules.h"
#include "worker/engine/generation/sampler.h"

namespace graft {
namespace {

class TokenRun {
 public:
  TokenRun(const GenerationRun& run, std::vector<int64_t> rows)
      : run_(run),
        waiting_(std::move(rows)),
        rules_(run.options.generation),
        sampler_(run.options.generation) {}

  absl::Status Run() {
    const size_t slots = std::min(
        waiting_.size(), static_cast<size_t>(std::max<int64_t>(1, run_.options.batch_size)));
    int64_t capacity = 0;
    for (const int64_t row : waiting_) capacity = std::max(capacity, run_.Capacity(row));
    KvCache cache(*run_.prompts[static_cast<size_t>(waiting_[0])].network,
                  static_cast<int64_t>(slots), capacity);
    for (;;) {
      const size_t count = std::min(waiting_.size() - begun_, slots - active_.size());
      if (count > 0 &&
          (active_.empty() || 4 * count >= slots || begun_ + count == waiting_.size())) {
        RETURN_IF_ERROR(run_.stop.Poll());
        Begin(count, cache);
      }
      if (active_.empty()) {
        if (begun_ == waiting_.size()) return absl::OkStatus();
        continue;
      }
      RETURN_IF_ERROR(run_.stop.Poll());
      std::vector<int64_t> next;
      for (const ActiveRow& row : active_) next.push_back(row.sequence.back());
      const at::Tensor ids = at::tensor(next, at::kLong).to(run_.prompts[0].network->device());
      Take(DecodeStep(ids, cache), 0, cache);
    }
  }

 private:
  struct ActiveRow {
    int64_t row = 0;
    std::vector<int32_t> sequence;  // Its beginning and its new tokens.
  };

  // The next rows come into the cache, and get their first token.
  void Begin(size_t count, KvCache& cache) {
    const auto from = waiting_.begin() + static_cast<int64_t>(begun_);
    std::vector<int64_t> rows(from, from + static_cast<int64_t>(count));
    begun_ += count;
    const at::Tensor logits = run_.Prefill(rows, cache);
    const size_t first = active_.size();
    for (const int64_t row : rows) active_.push_back({row, run_.Beginning(row)});
    Take(logits, first, cache);
  }

  // Gives the rows from the `first` one on a token each, by logits [rows, V]; those that are done
  // leave.
  void Take(const at::Tensor& logits, size_t first, KvCache& cache) {
    const std::vector<int64_t> next = Choose(logits, first);
    std::vector<bool> stays(active_.size(), true);
    size_t done = 0;
    for (size_t i = 0; i < next.size(); ++i) {
      stays[first + i] = Record(active_[first + i], static_cast<int32_t>(next[i]));
      done += !stays[first + i];
    }
    if (done == 0) return;
    run_.TellDone(done);
    // The last ones take the places of those that leave.
    std::vector<int64_t> order;
    size_t end = active_.size();
    for (size_t i = 0; i < end; ++i) {
      if (stays[i]) {
        order.push_back(static_cast<int64_t>(i));
        continue;
      }
      while (end > i + 1 && !stays[end - 1]) --end;
      if (--end == i) break;
      order.push_back(static_cast<int64_t>(end));
      active_[i] = std::move(active_[end]);
    }
    active_.resize(order.size());
    cache.Select(order);
  }

  std::vector<int64_t> Choose(at::Tensor logits, size_t first) const {
    if (rules_.active()) {
      std::vector<std::vector<int32_t>> sequences;
      for (size_t i = first; i < active_.size(); ++i) sequences.push_back(active_[i].sequence);
      logits = logits.to(at::kFloat).contiguous();
      rules_.Apply(sequences, logits);
    }
    const int64_t count = logits.size(0);
    std::vector<int64_t> next(static_cast<size_t>(count));
    if (!run_.options.generation.do_sample) {
      const at::Tensor best = logits.argmax(1).to(at::kCPU).contiguous();
      std::copy_n(best.const_data_ptr<int64_t>(), count, next.begin());
      return next;
    }
    const at::Tensor host = logits.to(at::kCPU, at::kFloat).contiguous();
    const size_t vocabulary = static_cast<size_t>(host.size(1));
    for (size_t i = 0; i < next.size(); ++i) {
      const int64_t row = active_[first + i].row;
      const auto position = static_cast<int64_t>(run_.results[static_cast<size_t>(row)].ids.size());
      next[i] = sampler_.Sample({host.const_data_ptr<float>() + i * vocabulary, vocabulary},
                                run_.prompts[static_cast<size_t>(row)].row, position);
    }
    return next;
  }

  // Notes the row's new token; does it go on?
  bool Record(ActiveRow& row, int32_t id) const {
    Generated& result = run_.results[static_cast<size_t>(row.row)];
    if (id == run_.options.end_of_text_id) {
      result.ended = true;
      return false;
    }
    result.ids.push_back(id);
    row.sequence.push_back(id);
    if (run_.on_token) run_.on_token(row.row, id);
    return static_cast<int64_t>(result.ids.size()) < run_.options.max_new_tokens;
  }

  const GenerationRun& run_;
  const std::vector<int64_t> waiting_;
  size_t begun_ = 0;  // Of waiting_.
  const LogitsRules rules_;
  const Sampler sampler_;
  std::vector<ActiveRow> active_;  // Those of the cache, in its order.
};

}  // namespace

absl::Status RunTokens(const GenerationRun& run, std::vector<int64_t> rows) {
  if (rows.empty()) return absl::OkStatus();
  return TokenRun(run, std::move(rows)).Run();
}

}  // namespace graft
