#pragma once

// Which modules of a GPT-2 a PEFT configuration means. Matching follows PEFT's own code:
// check_target_module_exists and get_pattern_key (peft/tuners/tuners_utils.py, peft/utils/other.py)
// for LoRA, endswith for modules_to_save.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/formats/gpt2_config.h"
#include "common/methods/peft_lora.h"

namespace graft {

// A layer that LoRA acts on: y = x·W + b + scaling · dropout(x)·Aᵀ·Bᵀ with A [rank, in], B [out,
// rank].
struct LoraModule {
  std::string name;  // "h.3.attn.c_attn"
  int64_t layer = 0;
  int64_t rank = 0;
  double alpha = 0;
  double scaling = 0;  // alpha / rank, or alpha / √rank with use_rslora
  int64_t in = 0;
  int64_t out = 0;
};

// In the order of the layers. Empty when the configuration targets nothing (only modules are
// saved). UNIMPLEMENTED: LoRA on something other than attn.c_attn, attn.c_proj, mlp.c_fc,
// mlp.c_proj (named), or a regular expression with look-around or back references.
// INVALID_ARGUMENT: targets that match nothing (they and the names that would match), a broken
// regular expression, a rank over the layer's smaller side.
absl::StatusOr<std::vector<LoraModule>> ResolveLoraModules(const PeftLoraConfig& peft,
                                                           const Gpt2Config& gpt2);

// Modules that are trained and saved whole: "h.11", "h.3.ln_1", "ln_f", "lm_head", in the model's
// order. UNIMPLEMENTED: wte and wpe, containers, modules inside others that are saved too.
// INVALID_ARGUMENT: a name that matches nothing.
absl::StatusOr<std::vector<std::string>> ResolveSavedModules(const std::vector<std::string>& names,
                                                             const Gpt2Config& gpt2);

// "attn.c_attn" of "h.3.attn.c_attn".
std::string NameInBlock(const LoraModule& module);

// If the modules are just what one rank, one alpha, a list of targets and a list of layers can
// name.
struct LoraShape {
  int64_t rank = 0;
  double alpha = 0;
  std::vector<std::string> target_modules;  // Of "attn.c_attn", "attn.c_proj", …, sorted.
  std::vector<int64_t> layers;              // In ascending order.
};
// UNIMPLEMENTED, with what differs from module to module. `modules` is not empty.
absl::StatusOr<LoraShape> AsLoraShape(const std::vector<LoraModule>& modules);

// The path that PEFT gives a module or tensor: "transformer.h.3", but "lm_head".
std::string PeftModulePath(absl::string_view name);

// The tensors of saved modules, by GPT-2's names ("h.11.ln_1.weight"), with the shapes of the base
// model.
std::vector<TensorShape> SavedModuleTensors(const std::vector<std::string>& modules,
                                            const Gpt2Config& gpt2);

// If the saved modules are just what last_layers can name: the last num_layers blocks, ln_f or not,
// lm_head or not. UNIMPLEMENTED, with what else there is.
struct LastLayersShape {
  int64_t num_layers = 0;
  bool final_norm = false;
  bool lm_head = false;
};
absl::StatusOr<LastLayersShape> AsLastLayers(const std::vector<std::string>& modules,
                                             const Gpt2Config& gpt2);

}  // namespace graft
