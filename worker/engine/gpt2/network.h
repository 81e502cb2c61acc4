#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/engine/gpt2/projection.h"
#include "worker/engine/gpt2/wide_product.h"

namespace graft {

struct LayerNormTensors {
  at::Tensor weight;  // [C]
  at::Tensor bias;    // [C]
};

// The four projections of a block, in the order of the forward pass.
enum Conv1dSite { kAttnCAttn = 0, kAttnCProj = 1, kMlpCFc = 2, kMlpCProj = 3, kConv1dSites = 4 };
// "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj".
const char* Conv1dSiteName(int site);

// Keys and values that stand before those of every row (Li and Liang 2021), each [H, P, C / H] in
// the network's type. Undefined: none.
struct AttentionPrefix {
  at::Tensor keys;
  at::Tensor values;
};

struct BlockTensors {
  LayerNormTensors ln_1;
  LayerNormTensors ln_2;
  std::array<Projection, kConv1dSites> projections;
  AttentionPrefix prefix;  // In all blocks alike, or in none.
};

// In a network of bf16 the products have factors in bf16; the residual stream and what acts on it
// itself (LayerNorms, the soft prompt) are fp32, as under autocast: single channels of GPT-2's
// stream are a hundred times the others, and each of its 2 L sums would be rounded.
at::ScalarType StreamType(at::ScalarType dtype);
// The type of the tensor of that name in a network of `dtype`.
at::ScalarType TypeInNetwork(absl::string_view name, at::ScalarType dtype);

// All tensors that one forward pass of GPT-2 uses, and the two numbers that they do not tell. A
// value: copies share the tensors. Gpt2Model gives the base model's; AdapterSet::Bind puts its
// trained tensors over them. What requires a gradient is trained, everything else is frozen, and
// autograd then saves and computes nothing for it.
struct Gpt2Network {
  int64_t num_heads = 0;
  double layer_norm_epsilon = 1e-5;
  at::Tensor wte;  // [V, C]
  at::Tensor wpe;  // [n_positions, C]
  std::vector<BlockTensors> blocks;
  LayerNormTensors ln_f;
  at::Tensor lm_head;        // [V, C]; the same tensor as wte when the head is tied.
  PackedWeight head_packed;  // lm_head's, where WideProduct is faster with it.
  at::Tensor soft_prompt;    // [P, C], or undefined.

  int64_t num_layers() const { return static_cast<int64_t>(blocks.size()); }
  int64_t vocab_size() const { return wte.size(0); }
  int64_t n_positions() const { return wpe.size(0); }
  int64_t width() const { return wte.size(1); }
  // Rows of the soft prompt, which go through the network before a text's own.
  int64_t num_prompt_rows() const { return soft_prompt.defined() ? soft_prompt.size(0) : 0; }
  // Positions that a prefix takes from a text: it has keys and values there, but no rows.
  int64_t prefix_length() const {
    return !blocks.empty() && blocks[0].prefix.keys.defined() ? blocks[0].prefix.keys.size(1) : 0;
  }
  // Positions that are not a text's.
  int64_t num_virtual_tokens() const { return prefix_length() + num_prompt_rows(); }
  at::Device device() const { return wte.device(); }
  at::ScalarType dtype() const { return wte.scalar_type(); }
  // Of the residual stream.
  at::ScalarType stream_dtype() const { return StreamType(dtype()); }
};

// The base model's tensors by their published names without prefix ("wte.weight",
// "h.0.ln_1.weight"), in the order of Gpt2TensorShapes; lm_head.weight only if with_lm_head. The
// blocks must be there, the tensors need not be yet.
struct NamedTensor {
  std::string name;
  at::Tensor* tensor = nullptr;
};
std::vector<NamedTensor> NamedTensors(Gpt2Network& network, bool with_lm_head);

}  // namespace graft
