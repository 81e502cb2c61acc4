#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/gpt2/kv_cache.h"

namespace graft {

// What a row has before its first new token. Without ids only where there is a soft prompt.
struct Beginning {
  const Gpt2Network* network = nullptr;
  std::vector<int32_t> ids;
};

struct Begun {
  std::vector<size_t> order;  // Which beginning each of the cache's new rows is.
  at::Tensor logits;          // [rows, V] of what comes next, in that order.
};

// Runs beginnings, whose rows the cache then has besides its own, in an order in which they share
// most. `pad_id` stands where a row is shorter than the longest of its network.
Begun Prefill(std::span<const Beginning> beginnings, int32_t pad_id, KvCache& cache);

}  // namespace graft
