#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/methods/method.h"
#include "common/methods/peft_lora.h"
#include "common/methods/peft_modules.h"

namespace graft {

struct LoraConfig {
  static constexpr char kMethod[] = "lora";
  int64_t rank = 8;
  double alpha = 16;
  double dropout = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules = {"c_attn"};
  std::vector<int64_t> layers;  // Empty: all that no other part trains whole.
  // Of an adapter's files, which may have a rank and scaling of their own for each: the modules
  // that it acts on. Then the above are what they have in common (AsLoraShape), or else r and
  // lora_alpha of the file with all names and layers there are. Else empty.
  std::vector<LoraModule> modules;
};

// Layers that LoRA can target; names in target_modules match a suffix of these.
inline constexpr const char* kTargetModules[] = {"attn.c_attn", "attn.c_proj", "mlp.c_fc",
                                                 "mlp.c_proj"};
// Does `target` name `module` (one of the above, or a longer path)? Equal, or a suffix after a dot,
// as in PEFT.
bool TargetMatches(absl::string_view target, absl::string_view module);

// A and B of each module: "h.3.attn.c_attn.lora_A" [rank, in], ".lora_B" [out, rank].
std::vector<TensorShape> LoraTensorShapes(const std::vector<LoraModule>& modules);
// scaling · (B·A)ᵀ of an adapter's module, an element at a time in the order of the weight's rows.
std::unique_ptr<const WeightChange> LoraDelta(const LoraModule& module, const TensorView& a,
                                              const TensorView& b);

// y = x·W + b + scaling · dropout(x)·Aᵀ·Bᵀ on some layers (Hu et al. 2021): PEFT's LORA. What is
// virtual here beside Method's functions is where a method that is LoRA and more differs.
class Lora : public Method {
 public:
  const char* name() const override { return LoraConfig::kMethod; }
  double default_learning_rate() const override { return 2e-4; }
  const char* field() const final { return LoraConfig::kMethod; }
  void Check(const v1::Method& method, const FieldScope& scope) const override;
  void Inherit(const v1::Method& from, v1::Method& method) const override;
  void Resolve(const MethodContext& context, v1::Method& method,
               const FieldScope& scope) const override;
  void CheckSameShape(const v1::Method& from, const v1::Method& method,
                      const SameShape& same) const override;
  void ToConfig(const v1::Method& method, MethodConfig& config) const override;

  const char* peft_type() const override { return "LORA"; }
  const char* directory() const override { return "lora"; }
  bool CarriesModules(absl::string_view) const override { return true; }
  absl::Status CheckConfig(const nlohmann::json& config, absl::string_view text) const override;
  nlohmann::json DefaultConfig(absl::string_view fields) const override;
  absl::Status Read(const nlohmann::json& config, absl::string_view text,
                    AdapterReader& reader) const override;
  absl::StatusOr<PeftAdapter> Plan(const PlanContext& context) const override;
  bool says_all() const override { return false; }
  absl::StatusOr<std::string> SpellOutForOldPeft(std::string text,
                                                 const Gpt2Config& gpt2) const override;
  std::vector<TensorShape> Tensors(const MethodConfig& parts,
                                   const Gpt2Config& gpt2) const override;
  std::string Summary(const MethodConfig& parts, const Gpt2Config& gpt2) const override;
  absl::Status Describe(const MethodConfig& parts, const Gpt2Config& gpt2,
                        v1::Method& method) const override;
  std::shared_ptr<const WeightChange> ChangeOf(const AdapterFolder& adapter,
                                               absl::string_view tensor,
                                               const TensorView& stored) const override;

 protected:
  // Its part of the set, which is there; and where it is put.
  virtual const LoraConfig& PartOf(const MethodConfig& parts) const;
  virtual void SetPart(LoraConfig part, MethodConfig& parts) const;
  // The file's object without what LoRA does not know; and with it.
  virtual nlohmann::json AsLora(nlohmann::json config) const;
  virtual nlohmann::json FromLora(nlohmann::json config) const;
  virtual std::vector<TensorShape> ModuleTensors(const std::vector<LoraModule>& modules) const;
  // In the file, of one of ModuleTensors.
  virtual std::string StoredName(const std::string& name) const;
};

}  // namespace graft
