#include "worker/engine/gpt2/kv_cache.h"

#include <c10/core/GradMode.h>

#include "tests/worker/engine/golden.h"
#include "tests/worker/engine/gpt2/several_networks.h"
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

at::Tensor PrefillOf(const Gpt2Network& network, const Prompts& prompts, KvCache& cache) {
  const PromptRows rows[] = {{&network, prompts.ids, prompts.lengths}};
  return Prefill(rows, cache);
}

// The last position's logits of one row without a cache.
at::Tensor LogitsAlone(const Gpt2Network& network, const std::vector<int64_t>& ids) {
  const int64_t last = network.num_prompt_rows() + static_cast<int64_t>(ids.size()) - 1;
  return Logits(network, HiddenStates(network, at::tensor(ids, at::kLong).unsqueeze(0),
                                      at::full({1}, last, at::kLong), nullptr))[0];
}

TEST(KvCacheTest, BatchedGreedyTokensAreThoseOfTransformersRowByRow) {
  c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const Prompts prompts = GoldenPrompts();
  KvCache cache(model->network(), 3, 12);
  at::Tensor next = PrefillOf(model->network(), prompts, cache).argmax(1);
  for (int64_t step = 0; step < 6; ++step) {
    for (int64_t row = 0; row < 3; ++row) {
      EXPECT_EQ(next[row].item<int64_t>(),
                GoldenTensor("base/greedy/" + std::to_string(row))[step].item<int64_t>())
          << "row " << row << ", token " << step;
    }
    if (step < 5) next = DecodeStep(next, cache).argmax(1);
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
    at::Tensor logits = PrefillOf(network, prompts, cache);
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
      logits = DecodeStep(at::tensor(next, at::kLong), cache);
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
  at::Tensor logits = PrefillOf(model->network(), prompts, cache);
  for (int step = 0; step < 6; ++step) {
    logits = DecodeStep(logits.argmax(1), cache);
    EXPECT_FALSE(logits.isnan().any().item<bool>()) << "step " << step;
  }
}

TEST(KvCacheTest, ARowFindsNothingOfThoseThatHadItsSlot) {
  c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const Gpt2Network& sound = model->network();
  Gpt2Network broken = sound;
  for (BlockTensors& block : broken.blocks) {
    Projection& c_attn = block.projections[kAttnCAttn];
    c_attn.weight = c_attn.weight.clone();
    c_attn.bias = at::full_like(c_attn.bias, std::numeric_limits<double>::quiet_NaN());
  }
  const auto prompt = [](const Gpt2Network& network, int64_t length) {
    return PromptRows{&network, at::arange(length, at::kLong).unsqueeze(0), {length}};
  };
  // The broken row leaves its slot to one that comes, or to one that moves.
  for (const bool moves : {false, true}) {
    KvCache cache(sound, 3, 16);
    const PromptRows first[] = {prompt(sound, 9), prompt(broken, 8), prompt(sound, 2)};
    Prefill(first, cache);
    DecodeStep(at::full({3}, 1, at::kLong), cache);
    const std::vector<int64_t> staying =
        moves ? std::vector<int64_t>{0, 2} : std::vector<int64_t>{0};
    cache.Select(staying);
    if (!moves) {
      const PromptRows next[] = {prompt(sound, 3)};
      Prefill(next, cache);
    }
    const at::Tensor logits = DecodeStep(at::full({2}, 1, at::kLong), cache);
    const std::vector<int64_t> text =
        moves ? std::vector<int64_t>{0, 1, 1, 1} : std::vector<int64_t>{0, 1, 2, 1};
    EXPECT_LT(RelativeDifference(logits[1], LogitsAlone(sound, text)), 1e-12) << moves;
  }
}

TEST(KvCacheTest, RowsLeaveAndAreReordered) {
  c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const Prompts prompts = GoldenPrompts();
  for (const std::vector<int64_t>& rows :
       std::vector<std::vector<int64_t>>{{1, 2}, {2}, {0, 2}, {2, 0, 1}, {1, 1, 1}, {0, 1, 2}}) {
    KvCache cache(model->network(), 3, 9);
    PrefillOf(model->network(), prompts, cache);
    cache.Select(rows);
    ASSERT_EQ(cache.num_rows(), static_cast<int64_t>(rows.size()));
    const at::Tensor next = at::full({cache.num_rows()}, 9, at::kLong);
    const at::Tensor logits = DecodeStep(next, cache);
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t* ids = prompts.ids[rows[i]].const_data_ptr<int64_t>();
      std::vector<int64_t> text(ids, ids + prompts.lengths[rows[i]]);
      text.push_back(9);
      EXPECT_LT(RelativeDifference(logits[i], LogitsAlone(model->network(), text)), 1e-12);
      EXPECT_EQ(cache.length(i), static_cast<int64_t>(text.size()));
    }
  }
}

TEST(KvCacheTest, RowsOfAllKindsComeAndGoAndGetWhatTheyWouldGetAlone) {
  c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const std::vector<Gpt2Network> networks = NetworksOfAllKinds(*model);
  KvCache cache(networks[0], 6, 24);
  struct Row {
    const Gpt2Network* network;
    std::vector<int64_t> text;
  };
  std::vector<Row> rows;
  at::Tensor logits;
  int64_t made = 0;
  // One row of each network of `indices`, in the batches that follow each other.
  const auto come = [&](const std::vector<size_t>& indices) {
    std::vector<PromptRows> prompts;
    for (const size_t index : indices) {
      Row row{&networks[index], {}};
      for (int64_t t = 0; t <= made % 4; ++t) row.text.push_back((13 * made + 5 * t) % 48);
      ++made;
      prompts.push_back({row.network,
                         at::tensor(row.text, at::kLong).unsqueeze(0),
                         {static_cast<int64_t>(row.text.size())}});
      rows.push_back(std::move(row));
    }
    const at::Tensor first = Prefill(prompts, cache);
    logits = logits.defined() ? at::cat({logits, first}) : first;
  };
  const auto check = [&](const char* when) {
    ASSERT_EQ(cache.num_rows(), static_cast<int64_t>(rows.size()));
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_LT(RelativeDifference(logits[static_cast<int64_t>(i)],
                                   LogitsAlone(*rows[i].network, rows[i].text)),
                1e-12)
          << when << ", row " << i;
    }
  };
  const auto step = [&] {
    std::vector<int64_t> next;
    for (Row& row : rows) {
      next.push_back((7 * static_cast<int64_t>(row.text.size()) + 3) % 48);
      row.text.push_back(next.back());
    }
    logits = DecodeStep(at::tensor(next, at::kLong), cache);
  };
  const auto select = [&](const std::vector<int64_t>& order) {
    std::vector<Row> selected;
    for (const int64_t i : order) selected.push_back(rows[static_cast<size_t>(i)]);
    rows = std::move(selected);
    cache.Select(order);
    logits = logits.index_select(0, at::tensor(order, at::kLong));
  };
  come({3, 0, 4});
  check("at first");
  step();
  check("after a step");
  come({1, 0, 2});
  check("when others have come");
  step();
  step();
  check("after steps together");
  select({0, 5, 2, 4});
  step();
  check("when some have left");
  come({3, 1});
  step();
  check("when their slots are taken");
}

}  // namespace
}  // namespace graft
