#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/gpt2/model.h"
#include "worker/engine/run_hooks.h"

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

// A LoRA pair on one Conv1D. Loaded adapters may have a rank and scale of their own per layer.
struct LoraPlace {
  int64_t layer = 0;
  int site = kAttnCAttn;
  int64_t rank = 0;
  double alpha = 0;
  double scale = 0;
  double dropout = 0;
  size_t index_a = 0;  // In AdapterSet::tensors(); lora_B follows.
};

// What trains on top of a base model: any combination of lora, soft_prompt and last_layers, or
// full. It owns the trained tensors; the base model must outlive it. One thread.
class AdapterSet {
 public:
  // Fresh tensors as the method says; random ones follow from the seed alone. INVALID_ARGUMENT
  // naming the field and what would be valid: unknown target module or layer, rank beyond the
  // layer, a prompt longer than the model, last_layers beyond the model, no part at all.
  static absl::StatusOr<std::unique_ptr<AdapterSet>> Create(const Gpt2Model& base,
                                                            const MethodConfig& method,
                                                            uint64_t seed);
  // Reads what Save or PEFT wrote: a PEFT folder, or one with lora/ and soft_prompt/ in it. The
  // method follows from the files. INVALID_ARGUMENT naming file and tensor or field when it does
  // not fit the base; UNIMPLEMENTED naming file and what of PEFT is not supported; NOT_FOUND.
  static absl::StatusOr<std::unique_ptr<AdapterSet>> Load(const Gpt2Model& base,
                                                          const std::string& directory);

  const MethodConfig& method() const { return method_; }
  const std::vector<TrainedTensor>& tensors() const { return tensors_; }
  int64_t num_trained_parameters() const;
  // That stand before each text: network().num_virtual_tokens() of what Bind returns.
  int64_t num_virtual_tokens() const;

  // Takes over the other's values (init_from). INVALID_ARGUMENT when names, shapes or LoRA's scales
  // differ, naming the first that does.
  absl::Status CopyFrom(const AdapterSet& other);

  // The base's network with the trained tensors in their places, cast to the base's dtype where
  // that differs (so call it anew after each update). With gradients enabled the result carries
  // them to tensors(); under c10::NoGradGuard it is for evaluation.
  Gpt2Network Bind() const;

  // The lowest block with trained base weights; num_layers when there is none.
  int64_t first_trained_block() const;
  // Does any block's own weight train?
  bool base_blocks_train() const { return first_trained_block() < base_.network().num_layers(); }

  struct SaveOptions {
    std::string base_model_name;      // base_model_name_or_path of adapter_config.json.
    std::string tokenizer_directory;  // Whose tokenizer files `full` copies.
    Pulse* pulse = nullptr;           // Beats with each tensor, unless nullptr.
  };
  // Writes PEFT's files into an existing, empty directory (lora + soft_prompt: two directories,
  // lora/ and soft_prompt/, in it); `full` writes a Hugging Face model folder, which may be
  // tokenizer_directory. Returns the files'
  // paths below `directory`, sorted. Codes of common/base/file.h.
  absl::StatusOr<std::vector<std::string>> Save(const std::string& directory,
                                                const SaveOptions& options) const;

 private:
  AdapterSet(const Gpt2Model& base, MethodConfig method)
      : base_(base), method_(std::move(method)) {}

  void AddTensor(std::string name, const at::Tensor& initial, absl::string_view method);
  void AddLora(LoraPlace place, const at::Tensor& a, const at::Tensor& b);
  // The base tensors that last_layers or full trains, as leaves with the base's values.
  absl::Status AddBaseTensors();
  absl::Status CreateLora(uint64_t seed);
  absl::Status CreateSoftPrompt(uint64_t seed);
  absl::Status CheckLastLayers() const;
  bool TrainsBaseTensor(const std::string& name) const;

  const Gpt2Model& base_;
  MethodConfig method_;
  std::vector<TrainedTensor> tensors_;
  std::vector<LoraPlace> lora_places_;
};

}  // namespace graft
