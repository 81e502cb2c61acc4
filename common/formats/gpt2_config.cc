#include "common/formats/gpt2_config.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/json_util.h"

namespace graft {
namespace {

// Far above every published GPT-2; they keep all products of sizes within 63 bits.
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 20;
constexpr int64_t kMaxWidth = int64_t{1} << 16;
constexpr int64_t kMaxInner = int64_t{1} << 18;
constexpr int64_t kMaxLayers = 1024;

int64_t Size(JsonFields& fields, absl::string_view name, absl::string_view alias, int64_t fallback,
             int64_t max) {
  const absl::string_view used = !fields.Given(name) && fields.Given(alias) ? alias : name;
  return fields.Int(used, fallback, 1, max);
}

std::optional<int64_t> TokenId(JsonFields& fields, absl::string_view name, int64_t vocab_size,
                               bool null_means_none) {
  if (null_means_none && !fields.Given(name)) return std::nullopt;
  const int64_t id = fields.Int(name, 50256, 0, kMaxVocab);
  if (id >= vocab_size) return std::nullopt;
  return id;
}

void RefuseUnsupported(JsonFields& fields) {
  const std::string activation = fields.String("activation_function", "gelu_new");
  if (activation != "gelu_new") {
    fields.Fail("activation_function", absl::StrCat("'", Shortened(activation, 64),
                                                    "' is not supported; only gelu_new is"));
  }
  if (!fields.Bool("scale_attn_weights", true)) {
    fields.Fail("scale_attn_weights", "false is not supported; only true is");
  }
  for (const char* flag :
       {"scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"}) {
    if (fields.Bool(flag, false)) fields.Fail(flag, "true is not supported; only false is");
  }
  for (const char* name : {"pruned_heads", "quantization_config"}) {
    if (fields.Given(name) && !fields.Raw(name).empty()) fields.Fail(name, "is not supported");
  }
}

}  // namespace

absl::StatusOr<Gpt2Config> ParseGpt2Config(absl::string_view json) {
  ASSIGN_OR_RETURN(const nlohmann::json object, ParseJsonObject(json));
  JsonFields fields(object);
  const std::string model_type = fields.String("model_type", "");
  if (model_type != "gpt2") {
    fields.Fail("model_type",
                absl::StrCat("must be \"gpt2\", not \"", Shortened(model_type, 64), "\""));
  }
  Gpt2Config config;
  config.vocab_size = Size(fields, "vocab_size", "vocab_size", config.vocab_size, kMaxVocab);
  config.n_positions =
      Size(fields, "n_positions", "max_position_embeddings", config.n_positions, kMaxPositions);
  config.n_embd = Size(fields, "n_embd", "hidden_size", config.n_embd, kMaxWidth);
  config.n_layer = Size(fields, "n_layer", "num_hidden_layers", config.n_layer, kMaxLayers);
  config.n_head = Size(fields, "n_head", "num_attention_heads", config.n_head, kMaxWidth);
  config.n_inner = Size(fields, "n_inner", "n_inner", 4 * config.n_embd, kMaxInner);
  config.layer_norm_epsilon =
      fields.Number("layer_norm_epsilon", config.layer_norm_epsilon, 0.0, 1.0);
  config.initializer_range = fields.Number("initializer_range", config.initializer_range, 0.0, 1e3);
  config.embd_pdrop = fields.Number("embd_pdrop", config.embd_pdrop, 0.0, 1.0);
  config.attn_pdrop = fields.Number("attn_pdrop", config.attn_pdrop, 0.0, 1.0);
  config.resid_pdrop = fields.Number("resid_pdrop", config.resid_pdrop, 0.0, 1.0);
  config.tie_word_embeddings = fields.Bool("tie_word_embeddings", true);
  // An absent id means GPT-2's own, an explicit null means none.
  config.bos_token_id =
      TokenId(fields, "bos_token_id", config.vocab_size, object.contains("bos_token_id"));
  config.eos_token_id =
      TokenId(fields, "eos_token_id", config.vocab_size, object.contains("eos_token_id"));
  if (config.n_embd % config.n_head != 0) {
    fields.Fail("n_head", absl::StrCat(config.n_head, " does not divide n_embd ", config.n_embd));
  }
  RefuseUnsupported(fields);
  RETURN_IF_ERROR(fields.status());
  return config;
}

absl::StatusOr<Gpt2Config> ReadGpt2Config(const std::string& folder) {
  const std::string path = JoinPath(folder, "config.json");
  ASSIGN_OR_RETURN(const std::string json, ReadFile(path, kMaxConfigBytes));
  absl::StatusOr<Gpt2Config> config = ParseGpt2Config(json);
  if (!config.ok()) return Annotate(config.status(), path);
  return config;
}

std::string Gpt2ConfigJson(const Gpt2Config& config, absl::string_view dtype) {
  const auto id = [](std::optional<int64_t> value) {
    return value.has_value() ? nlohmann::json(*value) : nlohmann::json();
  };
  nlohmann::json object = {
      {"activation_function", "gelu_new"},
      {"architectures", {"GPT2LMHeadModel"}},
      {"attn_pdrop", config.attn_pdrop},
      {"bos_token_id", id(config.bos_token_id)},
      {"dtype", std::string(dtype)},
      {"embd_pdrop", config.embd_pdrop},
      {"eos_token_id", id(config.eos_token_id)},
      {"initializer_range", config.initializer_range},
      {"layer_norm_epsilon", config.layer_norm_epsilon},
      {"model_type", "gpt2"},
      {"n_embd", config.n_embd},
      {"n_head", config.n_head},
      {"n_inner",
       config.n_inner == 4 * config.n_embd ? nlohmann::json() : nlohmann::json(config.n_inner)},
      {"n_layer", config.n_layer},
      {"n_positions", config.n_positions},
      {"reorder_and_upcast_attn", false},
      {"resid_pdrop", config.resid_pdrop},
      {"scale_attn_by_inverse_layer_idx", false},
      {"scale_attn_weights", true},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"torch_dtype", std::string(dtype)},
      {"use_cache", true},
      {"vocab_size", config.vocab_size},
  };
  return PythonJson(object) + "\n";
}

std::vector<TensorShape> Gpt2TensorShapes(const Gpt2Config& config, bool with_lm_head) {
  const int64_t width = config.n_embd;
  std::vector<TensorShape> shapes = {{"wte.weight", {config.vocab_size, width}},
                                     {"wpe.weight", {config.n_positions, width}}};
  const auto norm = [&](const std::string& name) {
    shapes.push_back({name + ".weight", {width}});
    shapes.push_back({name + ".bias", {width}});
  };
  const auto conv1d = [&](const std::string& name, int64_t in, int64_t out) {
    shapes.push_back({name + ".weight", {in, out}});
    shapes.push_back({name + ".bias", {out}});
  };
  for (int64_t layer = 0; layer < config.n_layer; ++layer) {
    const std::string block = absl::StrCat("h.", layer);
    norm(block + ".ln_1");
    conv1d(block + ".attn.c_attn", width, 3 * width);
    conv1d(block + ".attn.c_proj", width, width);
    norm(block + ".ln_2");
    conv1d(block + ".mlp.c_fc", width, config.n_inner);
    conv1d(block + ".mlp.c_proj", config.n_inner, width);
  }
  norm("ln_f");
  if (with_lm_head) shapes.push_back({"lm_head.weight", {config.vocab_size, width}});
  return shapes;
}

int64_t Gpt2ParameterCount(const Gpt2Config& config) {
  int64_t count = 0;
  for (const TensorShape& tensor : Gpt2TensorShapes(config, !config.tie_word_embeddings)) {
    int64_t elements = 1;
    for (const int64_t dimension : tensor.shape) elements *= dimension;
    count += elements;
  }
  return count;
}

}  // namespace graft
