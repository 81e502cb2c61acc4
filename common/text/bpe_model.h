#pragma once

// What a tokeniser's files say, as plain values. Reading and checking them is here; using them is
// bpe.h.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace graft {

inline constexpr int32_t kMaxVocabularySize = 1 << 20;       // ids are below
inline constexpr int64_t kMaxTokenizerFileBytes = 64 << 20;  // of one file
inline constexpr char kEndOfText[] = "<|endoftext|>";

// A token that is found in the text before anything else is done to it.
struct AddedToken {
  int32_t id = 0;
  std::string content;     // never empty
  bool special = false;    // left out by DecodeWithoutSpecial
  bool lstrip = false;     // swallows white space in front of it
  bool rstrip = false;     // swallows white space behind it
  bool normalized = true;  // looked for after those that are not
};

struct BpeMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
};

struct BpeModel {
  std::vector<std::string> tokens;    // bytes by id; empty where there is no token
  std::vector<BpeMerge> merges;       // the first has the highest priority
  std::array<int32_t, 256> byte_ids;  // the token of each single byte, -1 where there is none
  std::vector<AddedToken> added_tokens;
  int32_t end_of_text_id = 0;
};

// See BpeTokenizer::Load for the files and the errors.
absl::StatusOr<BpeModel> ReadBpeModel(const std::string& folder);

}  // namespace graft
