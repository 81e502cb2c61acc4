#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/methods/method.h"

namespace graft {

struct LastLayersConfig {
  static constexpr char kMethod[] = "last_layers";
  int64_t num_layers = 2;
  bool include_final_norm = true;
  bool include_lm_head = false;
  // Of an adapter's files, which may save modules that the above cannot name (it is 0 and false
  // then): all of them, "h.11", "h.3.ln_1", "ln_f", "lm_head". Else empty.
  std::vector<std::string> modules;
};
// The modules, whether they are named or counted.
std::vector<std::string> SavedModules(const LastLayersConfig& last, int64_t n_layer);
// What saves them, counted if it can be.
LastLayersConfig LastLayersOf(std::vector<std::string> modules, const Gpt2Config& gpt2);
// Those of the parts; empty without the part.
std::vector<std::string> SavedModules(const MethodConfig& parts, int64_t n_layer);

// The last blocks, the final norm and the head train whole: PEFT's modules_to_save, which need an
// adapter that carries them. Where no other part has one, a LoRA that does nothing does.
class LastLayers : public Method {
 public:
  const char* name() const override { return LastLayersConfig::kMethod; }
  double default_learning_rate() const override { return 1e-4; }
  void Check(const v1::Method& method, const FieldScope& scope) const override;
  void Inherit(const v1::Method& from, v1::Method& method) const override;
  void Resolve(const MethodContext& context, v1::Method& method,
               const FieldScope& scope) const override;
  void CheckSameShape(const v1::Method& from, const v1::Method& method,
                      const SameShape& same) const override;
  bool trains_base() const override { return true; }
  int64_t NumWholeBlocks(const MethodConfig& parts, int64_t n_layer) const override;
  void ToConfig(const v1::Method& method, MethodConfig& config) const override;

  const char* directory() const override { return "lora"; }
  bool saves_modules() const override { return true; }
  void Finish(AdapterReader& reader) const override;
  absl::StatusOr<PeftAdapter> Plan(const PlanContext& context) const override;
  std::vector<TensorShape> Tensors(const MethodConfig& parts,
                                   const Gpt2Config& gpt2) const override;
  std::string Summary(const MethodConfig& parts, const Gpt2Config& gpt2) const override;
  absl::Status Describe(const MethodConfig& parts, const Gpt2Config& gpt2,
                        v1::Method& method) const override;
};

}  // namespace graft
