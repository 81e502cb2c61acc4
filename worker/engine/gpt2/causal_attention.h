#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "worker/engine/gpt2/blocks.h"

namespace graft {

// Texts of one network: `batch` of them, `length` positions each. Pads stand on the right, after
// everything real, so that causal attention keeps them away from it without a mask.
struct TextRows {
  const Gpt2Network* network = nullptr;
  int64_t batch = 0;
  int64_t length = 0;
  Dropout dropout;
};

// Every position looks at those before it in its text, and at its network's prefix. Rows of a pass
// are those of `texts`, in order; attention dropout of each is as if it were alone.
class CausalAttention : public Attention {
 public:
  // Told of the keys and values [B, H, P + S, C / H] of texts `first` to first + B - 1 in `layer`,
  // those of a prefix in front. May be empty.
  using KeysCallback = std::function<void(int64_t layer, int64_t first, const at::Tensor& keys,
                                          const at::Tensor& values)>;
  explicit CausalAttention(std::vector<TextRows> texts, KeysCallback on_keys = nullptr)
      : texts_(std::move(texts)), on_keys_(std::move(on_keys)) {}

  at::Tensor Attend(int64_t layer, const at::Tensor& qkv) override;

 private:
  at::Tensor AttendTogether(int64_t layer, const TextRows& texts, int64_t first,
                            const at::Tensor& qkv);
  const at::Tensor& PrefixMask(int64_t prefix, int64_t length, at::Device device);

  const std::vector<TextRows> texts_;
  const KeysCallback on_keys_;
  std::map<std::pair<int64_t, int64_t>, at::Tensor> prefix_masks_;
};

}  // namespace graft
