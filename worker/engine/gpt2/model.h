#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/formats/model_folder.h"
#include "worker/engine/gpt2/network.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// A frozen base model on one device in one dtype. Immutable after loading; the engine's training
// thread owns it.
class Gpt2Model {
 public:
  struct Options {
    at::Device device = at::kCPU;
    at::ScalarType dtype = at::kFloat;  // kFloat, kBFloat16 or kDouble.
    Pulse* pulse = nullptr;             // Beats with each tensor, unless nullptr.
  };

  // Reads a Hugging Face folder (config.json, safetensors single or sharded, F32, F16 or BF16, with
  // or without the `transformer.` prefix). Codes of ModelFolder::Open; INVALID_ARGUMENT too when a
  // weight is not finite, naming the tensor.
  static absl::StatusOr<std::unique_ptr<Gpt2Model>> Load(const std::string& directory,
                                                         const Options& options);
  // For tests and tools: a model of tensors made elsewhere.
  Gpt2Model(Gpt2Config config, Gpt2Network network);

  const Gpt2Config& config() const { return config_; }
  const Gpt2Network& network() const { return network_; }
  at::Device device() const { return network_.device(); }
  at::ScalarType dtype() const { return network_.dtype(); }
  bool head_is_tied() const { return network_.lm_head.is_same(network_.wte); }
  int64_t num_parameters() const;  // A tied head counts once.
  // What training of network()'s `tensor` of that name begins with: the tensor itself or, in a
  // network of bf16, the file's own values in fp32.
  absl::StatusOr<at::Tensor> Unrounded(const std::string& name, const at::Tensor& tensor) const;

 private:
  Gpt2Config config_;
  Gpt2Network network_;
  std::optional<ModelFolder> folder_;  // Of a network of bf16; its files are mapped, not read.
};

}  // namespace graft
