#pragma once

// The JSON files of a Hugging Face tokeniser: reading their parts, and refusing what is not
// GPT-2's. Used by bpe_model.cc. Errors are INVALID_ARGUMENT and name the field; the caller adds
// the file's name, but for ReadJsonFile and ReadTokenizerSettings.

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/text/bpe_model.h"

namespace graft {

// What stands beside the vocabulary, in tokenizer_config.json, special_tokens_map.json and
// added_tokens.json.
struct TokenizerSettings {
  std::string eos_token;  // empty: not said
  std::vector<AddedToken> added_tokens;
};

// A whole file, parsed. INVALID_ARGUMENT: as ParseJson of common/base/json.h; else as ReadFile of
// common/base/file.h, which stops at kMaxTokenizerFileBytes.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path);

// Files that are not there say nothing. INVALID_ARGUMENT: broken, or add_prefix_space is asked for.
absl::StatusOr<TokenizerSettings> ReadTokenizerSettings(const std::string& folder);

// Checks normalizer, pre_tokenizer, post_processor, decoder and the model's options of a
// tokenizer.json.
absl::Status CheckIsGpt2Tokenizer(const nlohmann::json& file);

// `added_tokens` of a tokenizer.json; an absent list is empty.
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokenList(const nlohmann::json& file);

// An element of model.merges: "a b" or ["a", "b"].
absl::StatusOr<std::pair<std::string, std::string>> ReadMerge(const nlohmann::json& merge);

// A whole number from 0 to kMaxVocabularySize - 1.
absl::StatusOr<int32_t> ReadTokenId(const nlohmann::json& value);

}  // namespace graft
