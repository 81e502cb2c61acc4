#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "worker/engine/engine_spec.h"
#include "worker/engine/generation/logits_rules.h"
#include "worker/engine/generation/sampler.h"
#include "worker/engine/gpt2/kv_cache.h"

namespace graft {

// How the next token of a row is chosen: the likeliest one, or a drawn one. Immutable.
struct Decoding {
  explicit Decoding(const GenerationConfig& config)
      : do_sample(config.do_sample), rules(config), sampler(config) {}

  const bool do_sample;
  const LogitsRules rules;
  const Sampler sampler;
};

// Rows that get a token each in turn, each by a network of its own on one base and by rules of its
// own. They come and go, and each gets what it would get alone, up to rounding. Networks and
// decodings outlive it. One thread, under c10::NoGradGuard.
class TokenBatch {
 public:
  struct Row {
    int64_t index = 0;  // What OnToken knows it by.
    const Gpt2Network* network = nullptr;
    const Decoding* decoding = nullptr;
    std::vector<int32_t> sequence;  // Its prompt and, behind it, its new tokens.
    int64_t new_tokens = 0;         // So many of them.
    int64_t stream = 0;  // What is drawn depends on the seed, this and the token's place alone.
    bool log_probabilities = false;
  };
  // Told of every new token, the rows of a step in turn. `log_probability`: by the logits as they
  // are, before rules and temperature; 0 for a row that does not ask for it. False: the row leaves,
  // and this token is none of its.
  using OnToken = std::function<bool(Row& row, int32_t id, float log_probability)>;

  // For rows of `network` and others on its base.
  TokenBatch(const Gpt2Network& network, int32_t pad_id, OnToken on_token);

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  // Room for so many rows of so many positions (virtual tokens included), those there included.
  void Reserve(int64_t slots, int64_t capacity) { cache_.Reserve(slots, capacity); }
  int64_t slots() const { return cache_.slots(); }
  int64_t capacity() const { return cache_.capacity(); }
  // These come besides, and get their first token; there is room for them.
  void Begin(std::vector<Row> rows);
  // Another token for each.
  void Step();

 private:
  // Gives the rows from the `first` one on a token each, by logits [rows, V]; those that are done
  // leave.
  void Take(const at::Tensor& logits, size_t first);
  // The tokens of the rows from the `first` one on.
  std::vector<int64_t> Choose(at::Tensor logits, size_t first) const;
  void ApplyRules(size_t first, const at::Tensor& logits) const;
  void LetGo(const std::vector<bool>& stays);

  const int32_t pad_id_;
  const OnToken on_token_;
  const at::Device device_;
  KvCache cache_;
  std::vector<Row> rows_;  // Those of the cache, in its order.
};

}  // namespace graft
