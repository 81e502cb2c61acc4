#include "common/methods/prefix_tuning.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/field_checks.h"
#include "common/formats/json_util.h"
#include "common/methods/peft_adapter.h"
#include "common/methods/peft_fields.h"
#include "graft/v1/model.pb.h"
#include "graft/v1/spec.pb.h"

namespace graft {
namespace {

constexpr char kStoredPrefix[] = "prompt_embeddings";
constexpr int64_t kMaxPrefixField = int64_t{1} << 20;

const std::vector<PeftField>& PrefixFields() {
  static const auto& fields = *new std::vector<PeftField>{
      {10, "auto_mapping", nullptr},
      {10, "base_model_name_or_path", nullptr},
      {10, "encoder_hidden_size", nullptr},
      {10, "inference_mode", true},
      {10, "num_attention_heads", nullptr},
      {10, "num_layers", nullptr},
      {10, "num_transformer_submodules", 1},
      {10, "num_virtual_tokens", nullptr},
      {10, "peft_type", "PREFIX_TUNING"},
      {10, "prefix_projection", false},
      {10, "revision", nullptr},
      {10, "task_type", "CAUSAL_LM"},
      {10, "token_dim", nullptr},
      {17, "modules_to_save", nullptr},
      {18, "peft_version", nullptr},
      {19, "init_weights", nullptr},
  };
  return fields;
}

// What a saved prefix was made by, or began as, changes nothing about it.
constexpr const char* kPrefixRead[] = {"encoder_hidden_size",
                                       "init_weights",
                                       "num_attention_heads",
                                       "num_layers",
                                       "num_transformer_submodules",
                                       "num_virtual_tokens",
                                       "peft_type",
                                       "prefix_projection",
                                       "task_type",
                                       "token_dim"};

struct PeftPrefix {
  std::string base_model_name;
  int64_t num_virtual_tokens = 0;
  int64_t n_embd = 0, n_layer = 0, n_head = 0;  // 0 when a file does not say.
};

absl::StatusOr<PeftPrefix> ParsePrefix(const nlohmann::json& object) {
  RETURN_IF_ERROR(CheckNothingElseIsSet(object, kPrefixRead));
  JsonFields fields(object);
  PeftPrefix prefix;
  prefix.base_model_name = fields.String("base_model_name_or_path", "");
  if (!fields.Given("num_virtual_tokens")) fields.Fail("num_virtual_tokens", "is missing");
  prefix.num_virtual_tokens = fields.Int("num_virtual_tokens", 1, 1, kMaxPrefixField);
  prefix.n_embd = fields.Int("token_dim", 0, 0, kMaxPrefixField);
  prefix.n_layer = fields.Int("num_layers", 0, 0, kMaxPrefixField);
  prefix.n_head = fields.Int("num_attention_heads", 0, 0, kMaxPrefixField);
  const int64_t submodules = fields.Int("num_transformer_submodules", 1, 1, 2);
  RETURN_IF_ERROR(fields.status());
  if (submodules != 1) return UnsupportedPeftField("num_transformer_submodules", submodules);
  return prefix;
}

absl::Status CheckPrefixFits(const PeftPrefix& prefix, const Gpt2Config& gpt2) {
  const auto same = [](const char* field, int64_t given, int64_t of_base) {
    if (given == 0 || given == of_base) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": ", given, ", but the base model has ", of_base));
  };
  RETURN_IF_ERROR(same("token_dim", prefix.n_embd, gpt2.n_embd));
  RETURN_IF_ERROR(same("num_layers", prefix.n_layer, gpt2.n_layer));
  RETURN_IF_ERROR(same("num_attention_heads", prefix.n_head, gpt2.n_head));
  if (prefix.num_virtual_tokens < gpt2.n_positions) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("num_virtual_tokens: ", prefix.num_virtual_tokens,
                                                 " leave no room in ", gpt2.n_positions,
                                                 " positions"));
}

int64_t TokensOf(const MethodConfig& parts) {
  return parts.Find<PrefixTuningConfig>()->num_virtual_tokens;
}

}  // namespace

void PrefixTuning::Check(const v1::Method& method, const FieldScope& scope) const {
  const v1::PrefixTuning& prefix = method.prefix_tuning();
  if (prefix.has_num_virtual_tokens()) {
    scope.AtLeast("num_virtual_tokens", prefix.num_virtual_tokens(), 1);
  }
  if (prefix.has_learning_rate()) scope.Positive("learning_rate", prefix.learning_rate());
}

void PrefixTuning::Inherit(const v1::Method& from, v1::Method& method) const {
  v1::PrefixTuning& prefix = *method.mutable_prefix_tuning();
  if (!prefix.has_num_virtual_tokens() && from.prefix_tuning().has_num_virtual_tokens()) {
    prefix.set_num_virtual_tokens(from.prefix_tuning().num_virtual_tokens());
  }
}

void PrefixTuning::Resolve(const MethodContext& context, v1::Method& method,
                           const FieldScope& scope) const {
  const v1::Model& model = context.model;
  v1::PrefixTuning& prefix = *method.mutable_prefix_tuning();
  const int most = model.n_positions() - 2;
  if (!prefix.has_num_virtual_tokens()) {
    prefix.set_num_virtual_tokens(std::max(1, std::min(20, most)));
  }
  if (prefix.num_virtual_tokens() <= most) return;
  scope.Add("num_virtual_tokens",
            absl::StrCat("is ", prefix.num_virtual_tokens(), "; ", model.name(), " has ",
                         model.n_positions(), " positions, of which a text needs 2",
                         most < 1 ? ": there is no room for a prefix"
                                  : absl::StrCat("; must be 1 to ", most)));
}

void PrefixTuning::CheckSameShape(const v1::Method& from, const v1::Method& method,
                                  const SameShape& same) const {
  const int32_t tokens = from.prefix_tuning().num_virtual_tokens();
  same(tokens == method.prefix_tuning().num_virtual_tokens(), "prefix_tuning.num_virtual_tokens",
       absl::StrCat(tokens));
}

void PrefixTuning::ToConfig(const v1::Method& method, MethodConfig& config) const {
  PrefixTuningConfig prefix;
  if (method.prefix_tuning().has_num_virtual_tokens()) {
    prefix.num_virtual_tokens = method.prefix_tuning().num_virtual_tokens();
  }
  config.Set(prefix);
}

int64_t PrefixTuning::NumVirtualTokens(const MethodConfig& parts) const { return TokensOf(parts); }

absl::Status PrefixTuning::CheckConfig(const nlohmann::json& config, absl::string_view) const {
  return ParsePrefix(config).status();
}

nlohmann::json PrefixTuning::DefaultConfig(absl::string_view fields) const {
  return PeftDefaults(PrefixFields(), fields);
}

absl::Status PrefixTuning::Read(const nlohmann::json& config, absl::string_view,
                                AdapterReader& reader) const {
  ASSIGN_OR_RETURN(const PeftPrefix prefix, ParsePrefix(config));
  if (!reader.parts.empty()) {
    return absl::UnimplementedError("a prefix beside another adapter is not supported");
  }
  RETURN_IF_ERROR(CheckPrefixFits(prefix, reader.gpt2));
  reader.base_model_name = prefix.base_model_name;
  reader.parts.Set(PrefixTuningConfig{prefix.num_virtual_tokens});
  for (const TensorShape& tensor : Tensors(reader.parts, reader.gpt2)) {
    reader.Take(kStoredPrefix, tensor);
  }
  return absl::OkStatus();
}

absl::StatusOr<PeftAdapter> PrefixTuning::Plan(const PlanContext& context) const {
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(context.options.peft_version));
  nlohmann::json config = DefaultConfig(fields);
  config["base_model_name_or_path"] = TextOrNull(context.options.base_model_name);
  config["encoder_hidden_size"] = context.gpt2.n_embd;  // PEFT fills it in so.
  config["token_dim"] = context.gpt2.n_embd;
  config["num_layers"] = context.gpt2.n_layer;
  config["num_attention_heads"] = context.gpt2.n_head;
  config["num_virtual_tokens"] = TokensOf(context.parts);
  PeftAdapter adapter;
  ASSIGN_OR_RETURN(adapter.config, PeftFileText(config, fields));
  adapter.Add(Tensors(context.parts, context.gpt2),
              [](const std::string&) { return kStoredPrefix; });
  return adapter;
}

std::vector<TensorShape> PrefixTuning::Tensors(const MethodConfig& parts,
                                               const Gpt2Config& gpt2) const {
  return {{kPrefixTensor, {TokensOf(parts), 2 * gpt2.n_layer * gpt2.n_embd}}};
}

std::string PrefixTuning::Summary(const MethodConfig& parts, const Gpt2Config&) const {
  return absl::StrCat("a prefix of ", TokensOf(parts), " virtual tokens");
}

absl::Status PrefixTuning::Describe(const MethodConfig& parts, const Gpt2Config&,
                                    v1::Method& method) const {
  method.mutable_prefix_tuning()->set_num_virtual_tokens(static_cast<int32_t>(TokensOf(parts)));
  return absl::OkStatus();
}

absl::Status PrefixTuning::CheckMerge(const MethodConfig& parts) const {
  return absl::FailedPreconditionError(absl::StrCat(
      "the adapter has a prefix of ", TokensOf(parts),
      " virtual tokens, whose keys and values cannot be merged into weights; download the adapter "
      "and load it with PEFT as its README.md says, or train one without prefix_tuning"));
}

}  // namespace graft
