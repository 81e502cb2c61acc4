#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/methods/method.h"
#include "common/methods/method_config.h"
#include "worker/engine/gpt2/model.h"
#include "worker/engine/methods/trained_method.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// What trains on top of a base model: parts of methods that may stand beside each other. It owns
// the trained tensors; how they are made and bound its methods say. The base model must outlive it.
// One thread.
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
  const std::vector<TrainedTensor>& tensors() const { return tensors_.all(); }
  int64_t num_trained_parameters() const;

  // Takes over the other's values (init_from). INVALID_ARGUMENT when names, shapes or LoRA's scales
  // differ, naming the first that does.
  absl::Status CopyFrom(const AdapterSet& other);

  // The base's network with the trained tensors in their places, cast to the base's dtype where
  // that differs (so call it anew after each update). With gradients enabled the result carries
  // them to tensors(); under c10::NoGradGuard it is for evaluation.
  Gpt2Network Bind() const;

  // The lowest block with trained base weights; num_layers when there is none.
  int64_t first_trained_block() const;
  int64_t n_positions() const { return base_.network().n_positions(); }
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
      : base_(base), method_(std::move(method)), tensors_(base) {}

  const Gpt2Model& base_;
  MethodConfig method_;
  TrainedTensors tensors_;
  std::vector<std::unique_ptr<TrainedPart>> parts_;  // In the order of TrainedMethods().
};

}  // namespace graft
