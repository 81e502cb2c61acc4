#include "common/methods/soft_prompt.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/field_checks.h"
#include "common/formats/json_util.h"
#include "common/methods/peft_adapter.h"
#include "common/methods/peft_fields.h"
#include "common/methods/peft_modules.h"
#include "graft/v1/model.pb.h"
#include "graft/v1/spec.pb.h"

namespace graft {
namespace {

using nlohmann::json;

constexpr int64_t kMaxVirtualTokens = int64_t{1} << 20;

const std::vector<PeftField>& PromptFields() {
  static const auto& fields = *new std::vector<PeftField>{
      {10, "auto_mapping", nullptr},
      {10, "base_model_name_or_path", nullptr},
      {10, "inference_mode", true},
      {10, "num_attention_heads", nullptr},
      {10, "num_layers", nullptr},
      {10, "num_transformer_submodules", 1},
      {10, "num_virtual_tokens", nullptr},
      {10, "peft_type", "PROMPT_TUNING"},
      {10, "prompt_tuning_init", "RANDOM"},
      {10, "prompt_tuning_init_text", nullptr},
      {10, "revision", nullptr},
      {10, "task_type", "CAUSAL_LM"},
      {10, "token_dim", nullptr},
      {10, "tokenizer_kwargs", nullptr},
      {10, "tokenizer_name_or_path", nullptr},
      {17, "modules_to_save", nullptr},
      {18, "peft_version", nullptr},
  };
  return fields;
}

// Fields that ParsePeftPrompt reads.
constexpr const char* kPromptRead[] = {
    "modules_to_save",    "num_attention_heads", "num_layers",         "num_transformer_submodules",
    "num_virtual_tokens", "peft_type",           "prompt_tuning_init", "prompt_tuning_init_text",
    "task_type",          "token_dim",           "tokenizer_kwargs",   "tokenizer_name_or_path"};

absl::StatusOr<PeftPromptConfig> ParsePrompt(const json& object) {
  RETURN_IF_ERROR(CheckNothingElseIsSet(object, kPromptRead));
  JsonFields fields(object);
  PeftPromptConfig config;
  config.base_model_name = fields.String("base_model_name_or_path", "");
  if (!fields.Given("num_virtual_tokens")) fields.Fail("num_virtual_tokens", "is missing");
  config.num_virtual_tokens = fields.Int("num_virtual_tokens", 0, 0, kMaxVirtualTokens);
  config.n_embd = fields.Int("token_dim", 0, 0, int64_t{1} << 16);
  config.n_layer = fields.Int("num_layers", 0, 0, 1024);
  config.n_head = fields.Int("num_attention_heads", 0, 0, int64_t{1} << 16);
  config.modules_to_save = fields.Strings("modules_to_save");
  const int64_t submodules = fields.Int("num_transformer_submodules", 1, 1, 2);
  RETURN_IF_ERROR(fields.status());
  if (submodules != 1) return UnsupportedPeftField("num_transformer_submodules", submodules);
  return config;
}

json PromptObject(const PeftPromptConfig& config, absl::string_view version) {
  json object = PeftDefaults(PromptFields(), version);
  object["base_model_name_or_path"] = TextOrNull(config.base_model_name);
  object["num_virtual_tokens"] = config.num_virtual_tokens;
  object["token_dim"] = config.n_embd;
  object["num_layers"] = config.n_layer;
  object["num_attention_heads"] = config.n_head;
  if (!config.modules_to_save.empty()) object["modules_to_save"] = config.modules_to_save;
  return object;
}

SoftPromptConfig::Init PromptInitOf(v1::SoftPrompt::Init init) {
  using Init = SoftPromptConfig::Init;
  switch (init) {
    case v1::SoftPrompt::INIT_RANDOM:
      return Init::kRandom;
    case v1::SoftPrompt::INIT_TEXT:
      return Init::kText;
    case v1::SoftPrompt::INIT_RANDOM_UNIT:
      return Init::kRandomUnit;
    default:
      return Init::kVocabulary;
  }
}

absl::Status CheckPromptFits(const PeftPromptConfig& peft, const Gpt2Config& gpt2) {
  if (peft.n_embd != 0 && peft.n_embd != gpt2.n_embd) {
    return absl::InvalidArgumentError(
        absl::StrCat("token_dim: ", peft.n_embd, ", but the base model is ", gpt2.n_embd, " wide"));
  }
  if (peft.num_virtual_tokens >= gpt2.n_positions) {
    return absl::InvalidArgumentError(absl::StrCat("num_virtual_tokens: ", peft.num_virtual_tokens,
                                                   " leave no room in ", gpt2.n_positions,
                                                   " positions"));
  }
  if (peft.num_virtual_tokens == 0 && peft.modules_to_save.empty()) {
    return absl::InvalidArgumentError("num_virtual_tokens: must be at least 1");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PeftPromptConfig> ParsePeftPrompt(absl::string_view text) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(text));
  return ParsePrompt(object);
}

absl::StatusOr<std::string> PeftConfigJson(const PeftPromptConfig& config,
                                           absl::string_view peft_version) {
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(peft_version));
  return PeftFileText(PromptObject(config, fields), fields);
}

void SoftPrompt::Check(const v1::Method& method, const FieldScope& scope) const {
  const v1::SoftPrompt& prompt = method.soft_prompt();
  if (prompt.has_num_virtual_tokens()) {
    scope.AtLeast("num_virtual_tokens", prompt.num_virtual_tokens(), 1);
  }
  if (prompt.has_learning_rate()) scope.Positive("learning_rate", prompt.learning_rate());
  scope.Require(v1::SoftPrompt::Init_IsValid(prompt.init()), "init", "no such initialisation");
  const bool from_text = prompt.init() == v1::SoftPrompt::INIT_TEXT;
  scope.Require(from_text || prompt.init_text().empty(), "init_text", "needs init = INIT_TEXT");
  scope.Require(!from_text || !prompt.init_text().empty(), "init_text",
                "is required with init = INIT_TEXT");
  scope.AtMostBytes("init_text", prompt.init_text(), kMaxInitTextBytes);
}

void SoftPrompt::Inherit(const v1::Method& from, v1::Method& method) const {
  v1::SoftPrompt& prompt = *method.mutable_soft_prompt();
  if (!prompt.has_num_virtual_tokens() && from.soft_prompt().has_num_virtual_tokens()) {
    prompt.set_num_virtual_tokens(from.soft_prompt().num_virtual_tokens());
  }
}

void SoftPrompt::Resolve(const MethodContext& context, v1::Method& method,
                         const FieldScope& scope) const {
  const v1::Model& model = context.model;
  v1::SoftPrompt& prompt = *method.mutable_soft_prompt();
  const int most = model.n_positions() - 2;
  if (!prompt.has_num_virtual_tokens()) {
    prompt.set_num_virtual_tokens(std::max(1, std::min(20, most)));
  }
  if (prompt.init() == v1::SoftPrompt::INIT_UNSPECIFIED) {
    prompt.set_init(v1::SoftPrompt::INIT_VOCABULARY);
  }
  if (prompt.num_virtual_tokens() <= most) return;
  scope.Add("num_virtual_tokens",
            absl::StrCat("is ", prompt.num_virtual_tokens(), "; ", model.name(), " has ",
                         model.n_positions(), " positions, of which a text needs 2",
                         most < 1 ? ": there is no room for a soft prompt"
                                  : absl::StrCat("; must be 1 to ", most)));
}

void SoftPrompt::CheckSameShape(const v1::Method& from, const v1::Method& method,
                                const SameShape& same) const {
  if (!from.soft_prompt().has_num_virtual_tokens()) return;
  same(from.soft_prompt().num_virtual_tokens() == method.soft_prompt().num_virtual_tokens(),
       "soft_prompt.num_virtual_tokens", absl::StrCat(from.soft_prompt().num_virtual_tokens()));
}

int64_t SoftPrompt::NumVirtualTokens(const MethodConfig& parts) const {
  return parts.Find<SoftPromptConfig>()->num_virtual_tokens;
}

void SoftPrompt::ToConfig(const v1::Method& method, MethodConfig& config) const {
  const v1::SoftPrompt& from = method.soft_prompt();
  SoftPromptConfig prompt;
  if (from.has_num_virtual_tokens()) prompt.num_virtual_tokens = from.num_virtual_tokens();
  prompt.init = PromptInitOf(from.init());
  prompt.init_text = from.init_text();
  config.Set(std::move(prompt));
}

// Prompt tuning has modules_to_save from 0.17 on.
bool SoftPrompt::CarriesModules(absl::string_view fields) const {
  return !IsBeforePeft(fields, 17);
}

absl::Status SoftPrompt::CheckConfig(const json& config, absl::string_view) const {
  return ParsePrompt(config).status();
}

json SoftPrompt::DefaultConfig(absl::string_view fields) const {
  return PeftDefaults(PromptFields(), fields);
}

absl::Status SoftPrompt::Read(const json& config, absl::string_view, AdapterReader& reader) const {
  ASSIGN_OR_RETURN(const PeftPromptConfig peft, ParsePrompt(config));
  if (reader.parts.Has(name())) return absl::InvalidArgumentError("a second soft prompt");
  RETURN_IF_ERROR(CheckPromptFits(peft, reader.gpt2));
  ASSIGN_OR_RETURN(const std::vector<std::string> saved,
                   ResolveSavedModules(peft.modules_to_save, reader.gpt2));
  if (!saved.empty()) {
    for (const Method* method : MethodsOf(reader.parts)) {
      if (!method->saves_modules()) continue;
      return absl::UnimplementedError(
          "modules_to_save: in both of two directories is not supported");
    }
  }
  if (reader.base_model_name.empty()) reader.base_model_name = peft.base_model_name;
  const bool any = peft.num_virtual_tokens > 0;
  reader.Take("prompt_embeddings",
              {kSoftPromptTensor, {peft.num_virtual_tokens, reader.gpt2.n_embd}}, !any);
  if (any) reader.parts.Set(SoftPromptConfig{.num_virtual_tokens = peft.num_virtual_tokens});
  // No LoraModel stands between: names begin with base_model. alone.
  TakeSavedModules(saved, "base_model.", reader);
  return absl::OkStatus();
}

absl::StatusOr<PeftAdapter> SoftPrompt::Plan(const PlanContext& context) const {
  const Gpt2Config& gpt2 = context.gpt2;
  PeftAdapter adapter;
  ASSIGN_OR_RETURN(
      adapter.config,
      PeftConfigJson(
          PeftPromptConfig{context.options.base_model_name,
                           context.parts.Find<SoftPromptConfig>()->num_virtual_tokens, gpt2.n_embd,
                           gpt2.n_layer, gpt2.n_head, PeftModulePaths(context.saved_modules)},
          context.options.peft_version));
  adapter.Add(Tensors(context.parts, gpt2), [](const std::string&) { return "prompt_embeddings"; });
  return adapter;
}

std::vector<TensorShape> SoftPrompt::Tensors(const MethodConfig& parts,
                                             const Gpt2Config& gpt2) const {
  return {{kSoftPromptTensor, {parts.Find<SoftPromptConfig>()->num_virtual_tokens, gpt2.n_embd}}};
}

std::string SoftPrompt::Summary(const MethodConfig& parts, const Gpt2Config&) const {
  return absl::StrCat("a soft prompt of ", parts.Find<SoftPromptConfig>()->num_virtual_tokens,
                      " virtual tokens");
}

absl::Status SoftPrompt::Describe(const MethodConfig& parts, const Gpt2Config&,
                                  v1::Method& method) const {
  method.mutable_soft_prompt()->set_num_virtual_tokens(
      static_cast<int32_t>(parts.Find<SoftPromptConfig>()->num_virtual_tokens));
  return absl::OkStatus();
}

absl::Status SoftPrompt::CheckMerge(const MethodConfig& parts) const {
  return absl::FailedPreconditionError(absl::StrCat(
      "the adapter has a soft prompt of ", parts.Find<SoftPromptConfig>()->num_virtual_tokens,
      " virtual tokens, which stands before the text and cannot be merged into weights; download "
      "the adapter and load it with PEFT as its README.md says, or train one without "
      "soft_prompt"));
}

}  // namespace graft
