#pragma once

// The one loop over GPT-2's blocks, for training, prefill and decoding. Activations are flattened
// to [rows, width]. Follows modeling_gpt2.py of transformers.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/gpt2/network_rows.h"

namespace graft {

// How the rows of a pass look at each other.
class Attention {
 public:
  virtual ~Attention() = default;
  // qkv [N, 3 C], query, key and value of all rows beside each other → [N, C].
  virtual at::Tensor Attend(int64_t layer, const at::Tensor& qkv) = 0;
};

// The rows that are read after the last block: the rest of it runs on these alone.
struct ReadRows {
  at::Tensor positions;         // [M] int64 into all rows, in order of their networks.
  std::vector<int64_t> counts;  // How many of them each NetworkRows has.
};

// The stream [N, C] through all blocks. Becomes [M, C] with `read`, and `rows` those of it.
at::Tensor RunBlocks(std::vector<NetworkRows>& rows, at::Tensor x, const ReadRows* read,
                     Attention& attention);

// Hidden states [N, C] after the last block, normalised, in the network's own type: what the head
// takes.
at::Tensor FinalNorm(std::span<const NetworkRows> rows, const at::Tensor& x);

}  // namespace graft
