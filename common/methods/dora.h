#pragma once

#include "common/methods/lora.h"

namespace graft {

struct DoraConfig : LoraConfig {
  static constexpr char kMethod[] = "dora";
};

// Behind a module's name: the trained lengths [out] of the columns of its weight.
inline constexpr char kMagnitudeSuffix[] = ".lora_magnitude_vector";

// LoRA whose weights' columns have trained lengths (Liu et al. 2024): PEFT's LORA with use_dora.
class Dora : public Lora {
 public:
  const char* name() const override { return DoraConfig::kMethod; }
  bool must_be_known() const override { return true; }
  bool In(const v1::Method& method) const override;
  void AddTo(const v1::Method& before, v1::Method& method) const override;
  void Leave(v1::Method& method) const override;
  void Inherit(const v1::Method& from, v1::Method& method) const override;

  bool Reads(const nlohmann::json& config) const override;
  nlohmann::json DefaultConfig(absl::string_view fields) const override;
  std::string Summary(const MethodConfig& parts, const Gpt2Config& gpt2) const override;
  absl::Status Describe(const MethodConfig& parts, const Gpt2Config& gpt2,
                        v1::Method& method) const override;
  std::shared_ptr<const WeightChange> ChangeOf(const AdapterFolder& adapter,
                                               absl::string_view tensor,
                                               const TensorView& stored) const override;

 protected:
  const LoraConfig& PartOf(const MethodConfig& parts) const override;
  void SetPart(LoraConfig part, MethodConfig& parts) const override;
  nlohmann::json AsLora(nlohmann::json config) const override;
  nlohmann::json FromLora(nlohmann::json config) const override;
  std::vector<TensorShape> ModuleTensors(const std::vector<LoraModule>& modules) const override;
  std::string StoredName(const std::string& name) const override;
};

}  // namespace graft
