#pragma once

// What an adapter consists of, between graft's own names and PEFT's files. Torch-free: tensors are
// views.
//
// Its parts are what MethodConfig holds. Tensors are named by the base model's paths, as the engine
// names them:
//   h.3.attn.c_attn.lora_A [rank, in]   h.3.attn.c_attn.lora_B [out, rank]
//   soft_prompt [num_virtual_tokens, n_embd]
//   h.11.mlp.c_fc.weight, ln_f.bias, lm_head.weight …   of saved modules, shaped as in the base
//   model

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/safetensors.h"
#include "common/formats/safetensors_stream.h"
#include "common/methods/method_config.h"
#include "common/methods/peft_fields.h"

namespace graft {

// ---- Writing

struct AdapterWriteOptions {
  std::string base_model_name;  // what PEFT's users call the base: a path or a hub id
  std::string peft_version = kDefaultPeftVersion;
  std::string title;  // of the README; "" is the base's name
};

// Directories below the adapter's that hold PEFT adapters where PEFT cannot have all in one, in the
// order in which they are loaded.
inline constexpr const char* kAdapterDirectories[] = {"lora", "soft_prompt"};
// Of an adapter of these parts: {""}, or those.
absl::StatusOr<std::vector<std::string>> AdapterSubdirectories(const MethodConfig& parts,
                                                               const AdapterWriteOptions& options);

// A file of an adapter: a text, or a safetensors file where there are tensors.
struct AdapterFile {
  struct Tensor {
    TensorInfo stored;  // as it stands in the file
    std::string name;   // which of ours it is; "": all zeros
  };
  std::string path;  // below the adapter's directory
  std::string text;
  std::vector<Tensor> tensors;
};

// What WriteAdapter writes, in its order. Its INVALID_ARGUMENT.
absl::StatusOr<std::vector<AdapterFile>> PlanAdapter(const Gpt2Config& gpt2,
                                                     const MethodConfig& parts,
                                                     const std::vector<TensorInfo>& tensors,
                                                     const AdapterWriteOptions& options);

// The content of a file that has tensors, made while it is read: `source` appends elements of a
// tensor that is named as ours are; those of no name are zeros.
absl::StatusOr<SafetensorsStream> StreamWeights(const AdapterFile& file,
                                                SafetensorsStream::ElementSource source);

// Writes adapter_config.json, adapter_model.safetensors (a directory as above each) and README.md
// into `directory`, which is made when it is missing. `tensors` are all of the adapter's tensors,
// named as above, in F32 (or another float type); `source` gives their bytes. Returns the files'
// paths below `directory`. A part without LoRA that saves modules gets a carrier: a LoRA of rank 1
// whose tensors are zero, without which no PEFT loads it. INVALID_ARGUMENT, before anything is
// written: no part at all, what PEFT's version cannot express (all blocks saved and no LoRA, before
// 0.14), tensors that are missing, unknown or misshapen (all named). Codes of common/base/file.h.
absl::StatusOr<std::vector<std::string>> WriteAdapter(const std::string& directory,
                                                      const Gpt2Config& gpt2,
                                                      const MethodConfig& parts,
                                                      const std::vector<TensorInfo>& tensors,
                                                      TensorSource source,
                                                      const AdapterWriteOptions& options);

// The lines of Python that load the adapter with PEFT; README.md shows them. `directory` as the
// user will name it. Codes of AdapterSubdirectories.
absl::StatusOr<std::string> PeftSnippet(const MethodConfig& parts,
                                        const AdapterWriteOptions& options,
                                        const std::string& directory);

// ---- Reading

class AdapterReader;

// An adapter's directory, written by graft or by PEFT, with its tensors mapped. Immutable,
// thread-safe.
class AdapterFolder {
 public:
  // NOT_FOUND: no such directory, adapter_config.json or adapter_model.safetensors. UNIMPLEMENTED:
  // what graft does not compute, by field (CheckPeftConfig, ResolveLoraModules,
  // ResolveSavedModules). INVALID_ARGUMENT: a broken file, or, all in one message, every tensor
  // that is missing, unknown or does not fit the base model. The file is named once, by its path.
  static absl::StatusOr<AdapterFolder> Open(const std::string& directory, const Gpt2Config& gpt2);

  // A carrier (see WriteAdapter) is no LoRA part. Each part says what the files do, in what way
  // they may say it, as its struct has it.
  const MethodConfig& parts() const { return parts_; }
  // By the names above, in the order of the parts' own (lora_A and lora_B of each module).
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // nullptr when there is none of that name.
  const TensorView* Find(absl::string_view name) const;
  // base_model_name_or_path; "" when the file does not say.
  const std::string& base_model_name() const { return base_model_name_; }

 private:
  friend class AdapterReader;
  absl::Status AddPeftDirectory(const std::string& directory, AdapterReader& reader);

  MethodConfig parts_;
  std::vector<TensorView> tensors_;
  std::string base_model_name_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
};

// Tensors that an adapter of these parts, read from files, has, by the names above.
std::vector<TensorShape> AdapterTensorShapes(const MethodConfig& parts, const Gpt2Config& gpt2);

}  // namespace graft
