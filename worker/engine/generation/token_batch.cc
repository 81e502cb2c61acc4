#include "worker/engine/generation/token_batch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "worker/engine/generation/beginnings.h"

namespace graft {

TokenBatch::TokenBatch(const Gpt2Network& network, int32_t pad_id, OnToken on_token)
    : pad_id_(pad_id),
      on_token_(std::move(on_token)),
      device_(network.device()),
      cache_(network, 0, 0) {}

void TokenBatch::Begin(std::vector<Row> rows) {
  std::vector<Beginning> beginnings;
  for (const Row& row : rows) beginnings.push_back({row.network, row.sequence});
  const Begun begun = Prefill(beginnings, pad_id_, cache_);
  const size_t first = rows_.size();
  for (const size_t i : begun.order) rows_.push_back(std::move(rows[i]));
  Take(begun.logits, first);
}

void TokenBatch::Step() {
  std::vector<int64_t> newest;
  for (const Row& row : rows_) newest.push_back(row.sequence.back());
  Take(DecodeStep(at::tensor(newest, at::kLong).to(device_), cache_), 0);
}

void TokenBatch::Take(const at::Tensor& logits, size_t first) {
  const bool with_log_probabilities =
      std::any_of(rows_.begin() + static_cast<int64_t>(first), rows_.end(),
                  [](const Row& row) { return row.log_probabilities; });
  at::Tensor log_probabilities;  // Before the rules change the logits.
  if (with_log_probabilities) log_probabilities = at::log_softmax(logits, 1);
  const std::vector<int64_t> next = Choose(logits, first);
  if (with_log_probabilities) {
    log_probabilities =
        log_probabilities.gather(1, at::tensor(next, at::kLong).to(device_).unsqueeze(1))
            .to(at::kCPU, at::kFloat)
            .contiguous();
  }
  std::vector<bool> stays(rows_.size(), true);
  for (size_t i = 0; i < next.size(); ++i) {
    Row& row = rows_[first + i];
    const auto id = static_cast<int32_t>(next[i]);
    const float log_probability =
        row.log_probabilities ? log_probabilities.const_data_ptr<float>()[i] : 0;
    stays[first + i] = on_token_(row, id, log_probability);
    row.sequence.push_back(id);
    ++row.new_tokens;
  }
  LetGo(stays);
}

void TokenBatch::LetGo(const std::vector<bool>& stays) {
  if (std::find(stays.begin(), stays.end(), false) == stays.end()) return;
  // The last ones take the places of those that leave.
  std::vector<int64_t> order;
  size_t end = rows_.size();
  for (size_t i = 0; i < end; ++i) {
    if (stays[i]) {
      order.push_back(static_cast<int64_t>(i));
      continue;
    }
    while (end > i + 1 && !stays[end - 1]) --end;
    if (--end == i) break;
    order.push_back(static_cast<int64_t>(end));
    rows_[i] = std::move(rows_[end]);
  }
  rows_.resize(order.size());
  cache_.Select(order);
}

std::vector<int64_t> TokenBatch::Choose(at::Tensor logits, size_t first) const {
  const auto of_row = [&](size_t i) -> const Row& { return rows_[first + i]; };
  const auto count = static_cast<size_t>(logits.size(0));
  bool rules = false, greedy = false, sampled = false;
  for (size_t i = 0; i < count; ++i) {
    rules |= of_row(i).decoding->rules.active();
    (of_row(i).decoding->do_sample ? sampled : greedy) = true;
  }
  if (rules) {
    logits = logits.to(at::kFloat).contiguous();
    ApplyRules(first, logits);
  }
  std::vector<int64_t> next(count);
  if (greedy) {
    const at::Tensor best = logits.argmax(1).to(at::kCPU).contiguous();
    std::copy_n(best.const_data_ptr<int64_t>(), count, next.begin());
  }
  if (!sampled) return next;
  const at::Tensor host = logits.to(at::kCPU, at::kFloat).contiguous();
  const auto vocabulary = static_cast<size_t>(host.size(1));
  for (size_t i = 0; i < count; ++i) {
    const Row& row = of_row(i);
    if (!row.decoding->do_sample) continue;
    next[i] = row.decoding->sampler.Sample(
        {host.const_data_ptr<float>() + i * vocabulary, vocabulary}, row.stream, row.new_tokens);
  }
  return next;
}

// Those beside each other that have the same rules together.
void TokenBatch::ApplyRules(size_t first, const at::Tensor& logits) const {
  for (size_t begin = first, end; begin < rows_.size(); begin = end) {
    const Decoding* decoding = rows_[begin].decoding;
    std::vector<std::vector<int32_t>> sequences;
    for (end = begin; end < rows_.size() && rows_[end].decoding == decoding; ++end) {
      sequences.push_back(rows_[end].sequence);
    }
    if (!decoding->rules.active()) continue;
    decoding->rules.Apply(sequences, logits.narrow(0, static_cast<int64_t>(begin - first),
                                                   static_cast<int64_t>(end - begin)));
  }
}

}  // namespace graft
