#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/methods/method.h"

namespace graft {

struct PrefixTuningConfig {
  static constexpr char kMethod[] = "prefix_tuning";
  int64_t num_virtual_tokens = 20;
};

// [num_virtual_tokens, 2 · n_layer · n_embd]: a row has key and value of each block in turn, the
// heads of each beside each other.
inline constexpr char kPrefixTensor[] = "prefix";

// Keys and values before those of the text in every block (Li and Liang 2021), without the network
// that may make them in training: PEFT's PREFIX_TUNING.
class PrefixTuning : public Method {
 public:
  const char* name() const override { return PrefixTuningConfig::kMethod; }
  bool must_be_known() const override { return true; }
  double default_learning_rate() const override { return 1e-2; }
  const char* why_alone() const override { return "PEFT loads nothing else beside a prefix"; }
  void Check(const v1::Method& method, const FieldScope& scope) const override;
  void Inherit(const v1::Method& from, v1::Method& method) const override;
  void Resolve(const MethodContext& context, v1::Method& method,
               const FieldScope& scope) const override;
  void CheckSameShape(const v1::Method& from, const v1::Method& method,
                      const SameShape& same) const override;
  void ToConfig(const v1::Method& method, MethodConfig& config) const override;
  int64_t NumVirtualTokens(const MethodConfig& parts) const override;

  const char* peft_type() const override { return "PREFIX_TUNING"; }
  const char* directory() const override { return name(); }
  absl::Status CheckConfig(const nlohmann::json& config, absl::string_view text) const override;
  nlohmann::json DefaultConfig(absl::string_view fields) const override;
  absl::Status Read(const nlohmann::json& config, absl::string_view text,
                    AdapterReader& reader) const override;
  absl::StatusOr<PeftAdapter> Plan(const PlanContext& context) const override;
  std::vector<TensorShape> Tensors(const MethodConfig& parts,
                                   const Gpt2Config& gpt2) const override;
  std::string Summary(const MethodConfig& parts, const Gpt2Config& gpt2) const override;
  absl::Status Describe(const MethodConfig& parts, const Gpt2Config& gpt2,
                        v1::Method& method) const override;
  absl::Status CheckMerge(const MethodConfig& parts) const override;
};

}  // namespace graft
