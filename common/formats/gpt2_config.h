#pragma once

// config.json of a Hugging Face GPT-2 folder, and the tensors that such a model has.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

// Names and defaults are transformers' GPT2Config. Everything else that it can say is refused by
// ParseGpt2Config unless it changes nothing.
struct Gpt2Config {
  int64_t vocab_size = 50257;
  int64_t n_positions = 1024;
  int64_t n_embd = 768;
  int64_t n_layer = 12;
  int64_t n_head = 12;
  int64_t n_inner = 3072;  // 4 × n_embd when the file does not say
  double layer_norm_epsilon = 1e-5;
  double initializer_range = 0.02;
  // Dropout probabilities of training; the job's spec decides whether they are used.
  double embd_pdrop = 0.1;
  double attn_pdrop = 0.1;
  double resid_pdrop = 0.1;
  bool tie_word_embeddings = true;
  // Not set when the file has null or an id outside the vocabulary (files of small models often
  // keep GPT-2's 50256).
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> eos_token_id;
};

// INVALID_ARGUMENT naming the field: no JSON, model_type other than gpt2, a number out of range,
// n_embd no multiple of n_head, and what graft does not compute: another activation_function than
// gelu_new, scale_attn_weights false, scale_attn_by_inverse_layer_idx, reorder_and_upcast_attn,
// add_cross_attention, pruned_heads, quantization_config. transformers' aliases (hidden_size,
// num_hidden_layers, num_attention_heads, max_position_embeddings) are understood.
absl::StatusOr<Gpt2Config> ParseGpt2Config(absl::string_view json);
// The same of `folder`/config.json, which an error names. Codes of common/base/file.h.
inline constexpr int64_t kMaxConfigBytes = int64_t{1} << 20;
absl::StatusOr<Gpt2Config> ReadGpt2Config(const std::string& folder);

// config.json as transformers writes it: sorted keys, newline at the end; `dtype` is "float32",
// "float16" or "bfloat16" and stands in the file under the names of both transformers 4 and 5. The
// activations and flags that graft supports are spelled out.
std::string Gpt2ConfigJson(const Gpt2Config& config, absl::string_view dtype = "float32");

struct TensorShape {
  std::string name;
  std::vector<int64_t> shape;
};

// Every tensor of the model in the order of its layers, by the names that GPT2Model gives them,
// without "transformer.": wte.weight [V, C], wpe.weight [n_positions, C], h.{i}.ln_1.weight [C],
// h.{i}.attn.c_attn.weight [C, 3C] (Conv1D: in, out), …, ln_f.bias [C]; then, when `with_lm_head`,
// lm_head.weight [V, C].
std::vector<TensorShape> Gpt2TensorShapes(const Gpt2Config& config, bool with_lm_head);

// Number of parameters, a tied head counted once.
int64_t Gpt2ParameterCount(const Gpt2Config& config);

}  // namespace graft
