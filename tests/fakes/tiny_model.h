#pragma once

// A whole GPT-2 folder of a few kilobytes: two blocks, width 8, one token a byte.

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/model_folder.h"
#include "common/text/byte_alphabet.h"

namespace graft {

inline Gpt2Config TinyConfig() {
  Gpt2Config config;
  config.vocab_size = 257;  // 256 bytes and <|endoftext|>
  config.n_positions = 64;
  config.n_embd = 8;
  config.n_layer = 2;
  config.n_head = 2;
  config.n_inner = 32;
  return config;
}

// vocab.json and merges.txt without merges.
inline absl::Status WriteByteTokenizer(const std::string& folder) {
  nlohmann::json vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[SpellingOfByte(static_cast<unsigned char>(byte))] = byte;
  }
  vocabulary["<|endoftext|>"] = 256;
  RETURN_IF_ERROR(CreateDirectories(folder));
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, "vocab.json"), vocabulary.dump()));
  return WriteFileAtomically(JoinPath(folder, "merges.txt"), "#version: 0.2\n");
}

// `value` fills every byte of the weights, so that two folders can differ.
inline absl::Status WriteTinyModel(const std::string& folder, unsigned char value = 0) {
  const Gpt2Config config = TinyConfig();
  std::vector<TensorInfo> tensors;
  for (TensorShape& tensor : Gpt2TensorShapes(config, /*with_lm_head=*/false)) {
    tensors.push_back({std::move(tensor.name), DType::kF32, std::move(tensor.shape)});
  }
  std::vector<std::byte> buffer;
  const auto source = [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
    ASSIGN_OR_RETURN(const int64_t bytes, TensorSizeBytes(tensor.dtype, tensor.shape));
    buffer.assign(bytes, std::byte{value});
    return std::span<const std::byte>(buffer);
  };
  const std::string tokenizer = folder + ".tokenizer";
  RETURN_IF_ERROR(WriteByteTokenizer(tokenizer));
  RETURN_IF_ERROR(WriteModelFolder(folder, config, tensors, source, tokenizer));
  return RemoveTree(tokenizer);
}

}  // namespace graft
