#pragma once

// A Hugging Face GPT-2 folder: config.json, the weights (model.safetensors, or the shards of
// model.safetensors.index.json) and the tokenizer's files. Published checkpoints are read
// unchanged: names with or without "transformer.", F64, F32, F16 or BF16, old attention-mask
// buffers, tied and untied heads.

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/manifest.h"
#include "common/formats/safetensors.h"

namespace graft {

inline constexpr int64_t kMaxWeightIndexBytes = int64_t{64} << 20;
inline constexpr int kMaxWeightShards = 1024;

// An open folder with all of its weights mapped. Immutable, thread-safe; views live as long as
// this.
class ModelFolder {
 public:
  // NOT_FOUND: no such folder, config.json or weights. INVALID_ARGUMENT: config.json (see
  // ParseGpt2Config), a broken safetensors file, a shard name that leaves the folder, and, all in
  // one message, every tensor that is missing, has the wrong shape or is no floating-point tensor.
  static absl::StatusOr<ModelFolder> Open(const std::string& folder);

  // tie_word_embeddings says what the weights are, as transformers 5 decides it: a stored
  // lm_head.weight that differs from wte.weight makes the head untied whatever the file says.
  const Gpt2Config& config() const { return config_; }

  // In the order of Gpt2TensorShapes and by its names (no "transformer."); lm_head.weight only when
  // the head is untied.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // nullptr when there is none of that name.
  const TensorView* Find(absl::string_view name) const;

  // Tensors of the files that a GPT-2 does not have, as stored; transformers ignores them too.
  // Attention-mask buffers of old checkpoints are not counted.
  const std::vector<std::string>& unused() const { return unused_; }

  // Biases that no layer of the files has, filled with zeros as transformers does (models trained
  // without them): a list such as {"attn.c_attn.bias"}. A bias that only some layers have is an
  // error of Open.
  const std::vector<std::string>& zero_filled() const { return zero_filled_; }

  // Weight files, relative to the folder.
  const std::vector<std::string>& weight_files() const { return weight_files_; }

  // Gives back the memory that reading the weights has taken (MappedFile::ReleasePages).
  void ReleasePages() const {
    for (const auto& file : files_) file->ReleasePages();
  }

 private:
  absl::Status OpenWeights(const std::string& folder);
  absl::Status Resolve();

  Gpt2Config config_;
  std::vector<std::string> weight_files_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<TensorView> tensors_;
  absl::flat_hash_map<std::string, size_t> index_;
  std::vector<std::string> unused_;
  std::vector<std::string> zero_filled_;
  std::vector<std::byte> zeros_;  // what the views of zero-filled tensors show
};

// The names of a model folder's files that count, sorted: config.json, the weights with their
// index, and those of kTokenizerFiles that are there. Other files (README, weights of other
// frameworks) do not.
absl::StatusOr<std::vector<std::string>> ListModelFiles(const std::string& folder);

// Those with their sizes and hashes. Reads everything once; opens nothing as tensors.
struct ModelManifest {
  std::vector<ManifestFile> files;
  std::string sha256;  // ManifestSha256(files)
};
absl::StatusOr<ModelManifest> MakeModelManifest(const std::string& folder);

inline constexpr const char* kTokenizerFiles[] = {"vocab.json",        "merges.txt",
                                                  "tokenizer.json",    "tokenizer_config.json",
                                                  "added_tokens.json", "special_tokens_map.json"};

// Names of the weight files of a folder: {"model.safetensors"}, or the shards that the index names
// (each checked to be a plain file name), sorted. NOT_FOUND when there is neither, with a hint at
// pytorch_model.bin.
absl::StatusOr<std::vector<std::string>> ListWeightFiles(const std::string& folder);

// The dtype as config.json names it: "float32", "float16", "bfloat16". INVALID_ARGUMENT for
// another, in which no model is written.
absl::StatusOr<absl::string_view> TorchDType(DType dtype);

// The name under which transformers stores a tensor: "transformer.h.3.ln_1.bias", but
// "lm_head.weight".
std::string StoredTensorName(absl::string_view name);

// Writes a model folder that transformers loads: config.json, model.safetensors (names with
// "transformer.") and copies of the tokenizer files of `tokenizer_folder`. `tensors` are all of
// Gpt2TensorShapes(config, !config.tie_word_embeddings), by those names, of one dtype: F32, F16 or
// BF16; `source` gives their bytes. The folder is made when it is missing; config.json is written
// last, so a folder that was left half-done does not open. INVALID_ARGUMENT naming missing, unknown
// or misshapen tensors, before anything is written.
absl::Status WriteModelFolder(const std::string& folder, const Gpt2Config& config,
                              const std::vector<TensorInfo>& tensors, TensorSource source,
                              const std::string& tokenizer_folder);

}  // namespace graft
