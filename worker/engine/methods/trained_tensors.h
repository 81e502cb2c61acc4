#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "worker/engine/gpt2/model.h"

namespace graft {

// One trained tensor: a leaf that requires its gradient, in fp32 (fp64 with an fp64 base) on the
// base's device. Names are the base model's paths without prefix: "h.3.attn.c_attn.lora_A",
// "h.11.mlp.c_fc.weight", "soft_prompt".
struct TrainedTensor {
  std::string name;
  at::Tensor tensor;
  std::string method;  // That it belongs to: "lora". It decides about the learning rate.
  bool decays = true;  // Weight decay applies: not to biases and LayerNorm's parameters.
};

// Those of one set, in the order in which they were added.
class TrainedTensors {
 public:
  explicit TrainedTensors(const Gpt2Model& base) : base_(base) {}

  // A copy of the values.
  void Add(std::string name, const at::Tensor& initial, absl::string_view method);
  // Cast to what it is in the base's network, with its gradient; undefined when there is none of
  // that name.
  at::Tensor InNetwork(absl::string_view name) const;
  // The leaf itself; undefined likewise.
  at::Tensor Own(absl::string_view name) const;
  const std::vector<TrainedTensor>& all() const { return tensors_; }
  std::vector<TrainedTensor>& all() { return tensors_; }

 private:
  const Gpt2Model& base_;
  std::vector<TrainedTensor> tensors_;
  absl::flat_hash_map<std::string, size_t> index_;
};

// Has the model room for so many virtual tokens and a text? INVALID_ARGUMENT naming `field`.
absl::Status CheckVirtualTokens(const Gpt2Network& network, absl::string_view field, int64_t count);

// The random numbers that a method's tensors begin with. Each has a stream of its own, so that they
// do not depend on what other parts there are.
at::Generator InitGenerator(uint64_t seed, uint64_t stream);

}  // namespace graft
