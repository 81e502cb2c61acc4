#pragma once

// A Hugging Face folder of a tiny GPT-2 with random weights and the golden tokenizer: enough to run
// whole jobs in milliseconds. No torch.

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/formats/model_folder.h"

namespace graft {

inline Gpt2Config TinyConfig() {
  Gpt2Config config;
  config.vocab_size = 512;  // The golden tokenizer has 503 tokens.
  config.n_positions = 48;
  config.n_embd = 16;
  config.n_layer = 2;
  config.n_head = 2;
  config.n_inner = 64;
  config.embd_pdrop = config.attn_pdrop = config.resid_pdrop = 0;
  return config;
}

// Changes a tensor's values before they are written.
using AlterTensor = std::function<void(const TensorInfo& tensor, std::vector<float>& values)>;

// Positions from this one on are beyond what a LayerNorm of fp32 holds: every weight is finite, as
// it must be, and a text that is so long is not.
inline AlterTensor DivergesFrom(size_t position) {
  return [position](const TensorInfo& tensor, std::vector<float>& values) {
    if (tensor.name.find("wpe") == std::string::npos) return;
    const size_t width = tensor.shape[1];
    for (size_t i = position * width; i < values.size(); ++i)
      values[i] = i % 2 == 0 ? 3e38f : -3e38f;
  };
}

// Writes it into `folder`, which is made.
inline void WriteTinyModel(const std::string& folder, const Gpt2Config& config = TinyConfig(),
                           const AlterTensor& alter = {}) {
  std::vector<TensorInfo> tensors;
  for (const TensorShape& tensor : Gpt2TensorShapes(config, false)) {
    tensors.push_back({tensor.name, DType::kF32, tensor.shape});
  }
  std::mt19937 generator(1);
  std::vector<float> values;
  const absl::Status written = WriteModelFolder(
      folder, config, tensors,
      [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
        const bool is_norm = tensor.name.find("ln_") != std::string::npos &&
                             tensor.name.find("weight") != std::string::npos;
        std::normal_distribution<float> normal(is_norm ? 1.0f : 0.0f, 0.1f);
        size_t count = 1;
        for (const int64_t size : tensor.shape) count *= static_cast<size_t>(size);
        values.resize(count);
        for (float& value : values) value = normal(generator);
        if (alter) alter(tensor, values);
        return std::as_bytes(std::span<const float>(values));
      },
      absl::StrCat(GRAFT_SOURCE_DIR, "/tests/golden/text/bpe"));
  EXPECT_TRUE(written.ok()) << written;
}

}  // namespace graft
