#include "worker/engine/generation/generator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/generation/sampler.h"
#include "worker/engine/gpt2/kv_cache.h"

namespace graft {
namespace {

absl::Status CheckPrompt(const Gpt2Network& network, const std::vector<int32_t>& prompt,
                         int64_t index, int64_t max_new_tokens) {
  const int64_t length = std::max<int64_t>(1, static_cast<int64_t>(prompt.size()));
  const int64_t virtual_tokens = network.num_virtual_tokens();
  if (virtual_tokens + length + max_new_tokens > network.n_positions()) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt ", index, ": ", virtual_tokens, " virtual tokens, ", length,
                     " of the prompt and max_new_tokens ", max_new_tokens, " exceed the model's ",
                     network.n_positions(), " positions"));
  }
  for (const int32_t id : prompt) {
    if (id < 0 || id >= network.vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat("prompt ", index, ": id ", id,
                                                     " is not below the model's vocabulary of ",
                                                     network.vocab_size()));
    }
  }
  return absl::OkStatus();
}

// One batch from its prompts to its last token.
class BatchRun {
 public:
  BatchRun(const Gpt2Network& network, const GeneratorOptions& options, const Sampler& sampler,
           const TokenCallback& on_token)
      : network_(network), options_(options), sampler_(sampler), on_token_(on_token) {}

  absl::Status Run(std::span<const std::vector<int32_t>> prompts, std::vector<int64_t> rows,
                   StopToken& stop, std::vector<Generated>& results) {
    rows_ = std::move(rows);
    const auto [ids, lengths] = Pad(prompts);
    KvCache cache(network_, static_cast<int64_t>(rows_.size()),
                  network_.num_virtual_tokens() + ids.size(1) + options_.max_new_tokens);
    RETURN_IF_ERROR(stop.Poll());
    at::Tensor logits = Prefill(network_, ids, lengths, cache);
    for (int64_t position = 0;; ++position) {
      std::vector<int64_t> next = Choose(logits, position);
      const std::vector<int64_t> staying = Record(next, results);
      if (staying.empty()) return absl::OkStatus();
      RETURN_IF_ERROR(stop.Poll());
      if (staying.size() < rows_.size()) Leave(staying, next, cache);
      logits = DecodeStep(network_, at::tensor(next, at::kLong).to(network_.device()), cache);
    }
  }

 private:
  std::pair<at::Tensor, std::vector<int64_t>> Pad(
      std::span<const std::vector<int32_t>> prompts) const {
    std::vector<int64_t> lengths;
    for (const int64_t row : rows_) {
      lengths.push_back(static_cast<int64_t>(prompts[static_cast<size_t>(row)].size()));
      if (lengths.back() == 0 && network_.num_virtual_tokens() == 0) lengths.back() = 1;
    }
    const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
    at::Tensor ids =
        at::full({static_cast<int64_t>(rows_.size()), longest}, options_.end_of_text_id, at::kLong);
    int64_t* out = ids.mutable_data_ptr<int64_t>();
    for (const int64_t row : rows_) {
      const std::vector<int32_t>& prompt = prompts[static_cast<size_t>(row)];
      std::copy(prompt.begin(), prompt.end(), out);
      out += longest;
    }
    return {ids.to(network_.device()), std::move(lengths)};
  }

  std::vector<int64_t> Choose(const at::Tensor& logits, int64_t position) const {
    const int64_t batch = logits.size(0);
    std::vector<int64_t> next(static_cast<size_t>(batch));
    if (!options_.generation.do_sample) {
      const at::Tensor best = logits.argmax(1).to(at::kCPU).contiguous();
      std::copy_n(best.const_data_ptr<int64_t>(), batch, next.begin());
      return next;
    }
    const at::Tensor host = logits.to(at::kCPU, at::kFloat).contiguous();
    const size_t vocabulary = static_cast<size_t>(host.size(1));
    for (size_t i = 0; i < next.size(); ++i) {
      next[i] = sampler_.Sample({host.const_data_ptr<float>() + i * vocabulary, vocabulary},
                                options_.first_row + rows_[i], position);
    }
    return next;
  }

  // Notes each row's new token; returns the places in the batch of the rows that go on.
  std::vector<int64_t> Record(const std::vector<int64_t>& next,
                              std::vector<Generated>& results) const {
    std::vector<int64_t> staying;
    for (size_t i = 0; i < rows_.size(); ++i) {
      Generated& result = results[static_cast<size_t>(rows_[i])];
      const auto id = static_cast<int32_t>(next[i]);
      if (id == options_.end_of_text_id) {
        result.ended = true;
        continue;
      }
      result.ids.push_back(id);
      if (on_token_) on_token_(rows_[i], id);
      if (static_cast<int64_t>(result.ids.size()) < options_.max_new_tokens) {
        staying.push_back(static_cast<int64_t>(i));
      }
    }
    return staying;
  }

  void Leave(const std::vector<int64_t>& staying, std::vector<int64_t>& next, KvCache& cache) {
    std::vector<int64_t> rows, ids;
    for (const int64_t i : staying) {
      rows.push_back(rows_[static_cast<size_t>(i)]);
      ids.push_back(next[static_cast<size_t>(i)]);
    }
    rows_ = std::move(rows);
    next = std::move(ids);
    cache.Select(staying);
  }

  const Gpt2Network& network_;
  const GeneratorOptions& options_;
  const Sampler& sampler_;
  const TokenCallback& on_token_;
  std::vector<int64_t> rows_;  // Indices of the prompts still in the batch.
};

}  // namespace

absl::StatusOr<std::vector<Generated>> Generate(const Gpt2Network& network,
                                                std::span<const std::vector<int32_t>> prompts,
                                                const GeneratorOptions& options, StopToken& stop,
                                                const TokenCallback& on_token) {
  if (options.max_new_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_new_tokens: ", options.max_new_tokens,
                                                   " is not allowed; at least 1 is needed"));
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    RETURN_IF_ERROR(
        CheckPrompt(network, prompts[i], static_cast<int64_t>(i), options.max_new_tokens));
  }
  const c10::NoGradGuard no_grad;
  const Sampler sampler(options.generation);
  std::vector<int64_t> order(prompts.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return prompts[static_cast<size_t>(a)].size() > prompts[static_cast<size_t>(b)].size();
  });
  std::vector<Generated> results(prompts.size());
  const size_t batch = static_cast<size_t>(std::max<int64_t>(1, options.batch_size));
  for (size_t begin = 0; begin < order.size(); begin += batch) {
    const size_t end = std::min(order.size(), begin + batch);
    BatchRun run(network, options, sampler, on_token);
    RETURN_IF_ERROR(run.Run(
        prompts,
        {order.begin() + static_cast<int64_t>(begin), order.begin() + static_cast<int64_t>(end)},
        stop, results));
  }
  return results;
}

}  // namespace graft
