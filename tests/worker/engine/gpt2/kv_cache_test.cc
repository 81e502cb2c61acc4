#include "worker/engine/gpt2/kv_cache.h"

#include <c10/core/GradMode.h>

#include "tests/worker/engine/golden.h"
#include "worker/engine/gpt2/forward.h"

namespace graft {
namespace {

// Prompts of different lengths, padded on the right.
struct Prompts {
  at::Tensor ids;
  std::vector<int64_t> lengths;
};

Prompts GoldenPrompts() {
  Prompts prompts;
  const GoldenRows rows;
  prompts.ids = at::full({3, 6}, 5, at::kLong);
  for (int64_t row = 0; row < 3; ++row) {
    const Example example = rows.Get(row);
    prompts.lengths.push_back(example.num_prompt_tokens);
    for (int64_t t = 0; t < example.num_prompt_tokens; ++t) prompts.ids[row][t] = example.ids[t];
  }
  return prompts;
}

// The last position's logits of one row without a cache.
at::Tensor LogitsAlone(const Gpt2Network& network, const std::vector<int64_t>& ids) {
  const int64_t last = network.num_virtual_tokens() + static_cast<int64_t>(ids.size()) - 1;
  return Logits(network, HiddenStates(network, at::tensor(ids, at::kLong).unsqueeze(0),
                                      at::full({1}, last, at::kLong), nullptr))[0];
}

TEST(KvCacheTest, BatchedGreedyTokensAreThoseOfTransformersRowByRow) {
  c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const Prompts prompts = GoldenPrompts();
  KvCache cache(model->network(), 3, 12);
  at::Tensor next = Prefill(model->network(), prompts.ids, prompts.lengths, cache).argmax(1);
  for (int64_t step = 0; step < 6; ++step) {
    for (int64_t row = 0; row < 3; ++row) {
      EXPECT_EQ(next[row].item<int64_t>(),
                GoldenTensor("base/greedy/" + std::to_string(row))[step].item<int64_t>())
          << "row " << row << ", token " << step;
    }
    if (step < 5) next = DecodeStep(model->network(), next, cache).argmax(1);
  }
}

TEST(KvCacheTest, EveryRowGetsWhatItWouldGetAlone) {
  c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  Gpt2Network network = model->network();
  for (int64_t virtual_tokens : {0, 3}) {
    if (virtual_tokens > 0) network.soft_prompt = at::randn({virtual_tokens, 16}, at::kDouble);
    const Prompts prompts = GoldenPrompts();
    KvCache cache(network, 3, virtual_tokens + 9);
    at::Tensor logits = Prefill(network, prompts.ids, prompts.lengths, cache);
    std::vector<std::vector<int64_t>> texts(3);
    for (int64_t row = 0; row < 3; ++row) {
      const int64_t* ids = prompts.ids[row].const_data_ptr<int64_t>();
      texts[row].assign(ids, ids + prompts.lengths[row]);
    }
    for (int step = 0; step < 3; ++step) {
      std::vector<int64_t> next;
      for (int64_t row = 0; row < 3; ++row) {
        EXPECT_LT(RelativeDifference(logits[row], LogitsAlone(network, texts[row])), 1e-12)
            << "row " << row << ", step " << step << ", virtual tokens " << virtual_tokens;
        next.push_back((11 * row + step) % 48);
        texts[row].push_back(next.back());
      }
      logits = DecodeStep(network, at::tensor(next, at::kLong), cache);
    }
  }
}

// Makes at::empty give NaN instead of whatever the memory held.
class NanInFreshMemory {
 public:
  NanInFreshMemory() { at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true); }
  ~NanInFreshMemory() { at::globalContext().setDeterministicAlgorithms(false, false); }
};

TEST(KvCacheTest, ShorterRowsDoNotSeeWhatTheMemoryHeldBefore) {
  const NanInFreshMemory nan_in_fresh_memory;
  c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  ASSERT_TRUE(at::empty({4}).isnan().all().item<bool>());
  const Prompts prompts = GoldenPrompts();
  KvCache cache(model->network(), 3, 12);
  at::Tensor logits = Prefill(model->network(), prompts.ids, prompts.lengths, cache);
  for (int step = 0; step < 6; ++step) {
    logits = DecodeStep(model->network(), logits.argmax(1), cache);
    EXPECT_FALSE(logits.isnan().any().item<bool>()) << "step " << step;
  }
}

TEST(KvCacheTest, RowsLeaveAndAreReordered) {
  c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const Prompts prompts = GoldenPrompts();
  for (const std::vector<int64_t>& rows :
       std::vector<std::vector<int64_t>>{{1, 2}, {2}, {0, 2}, {2, 0, 1}, {1, 1, 1}, {0, 1, 2}}) {
    KvCache cache(model->network(), 3, 9);
    Prefill(model->network(), prompts.ids, prompts.lengths, cache);
    cache.Select(rows);
    ASSERT_EQ(cache.batch(), static_cast<int64_t>(rows.size()));
    const at::Tensor next = at::full({cache.batch()}, 9, at::kLong);
    const at::Tensor logits = DecodeStep(model->network(), next, cache);
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t* ids = prompts.ids[rows[i]].const_data_ptr<int64_t>();
      std::vector<int64_t> text(ids, ids + prompts.lengths[rows[i]]);
      text.push_back(9);
      EXPECT_LT(RelativeDifference(logits[i], LogitsAlone(model->network(), text)), 1e-12);
      EXPECT_EQ(cache.length(i), static_cast<int64_t>(text.size()));
    }
  }
}

}  // namespace
}  // namespace graft
