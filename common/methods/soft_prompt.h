#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/methods/method.h"

namespace graft {

struct SoftPromptConfig {
  static constexpr char kMethod[] = "soft_prompt";
  enum class Init { kRandom, kVocabulary, kText, kRandomUnit };
  int64_t num_virtual_tokens = 20;
  Init init = Init::kVocabulary;
  std::string init_text;
  std::vector<int32_t> init_text_ids;  // init_text's tokens; the engine fills them.
};

inline constexpr char kSoftPromptTensor[] = "soft_prompt";  // [num_virtual_tokens, n_embd]

// adapter_config.json of PROMPT_TUNING.
struct PeftPromptConfig {
  std::string base_model_name;
  int64_t num_virtual_tokens = 20;  // 0 with modules_to_save: a way to save modules only
  int64_t n_embd = 768;             // token_dim; 0 when a file does not say
  int64_t n_layer = 12;
  int64_t n_head = 12;
  std::vector<std::string> modules_to_save;
};
// Codes of CheckPeftConfig and PeftFileText.
absl::StatusOr<PeftPromptConfig> ParsePeftPrompt(absl::string_view json);
absl::StatusOr<std::string> PeftConfigJson(const PeftPromptConfig& config,
                                           absl::string_view peft_version);

// Virtual tokens before the text whose embeddings train: PEFT's PROMPT_TUNING.
class SoftPrompt : public Method {
 public:
  const char* name() const override { return SoftPromptConfig::kMethod; }
  double default_learning_rate() const override { return 3e-2; }
  void Check(const v1::Method& method, const FieldScope& scope) const override;
  void Inherit(const v1::Method& from, v1::Method& method) const override;
  void Resolve(const MethodContext& context, v1::Method& method,
               const FieldScope& scope) const override;
  void CheckSameShape(const v1::Method& from, const v1::Method& method,
                      const SameShape& same) const override;
  int64_t NumVirtualTokens(const MethodConfig& parts) const override;
  void ToConfig(const v1::Method& method, MethodConfig& config) const override;

  const char* peft_type() const override { return "PROMPT_TUNING"; }
  const char* directory() const override { return "soft_prompt"; }
  bool CarriesModules(absl::string_view fields) const override;
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
