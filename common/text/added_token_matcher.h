#pragma once

// Finds added tokens in text, as AddedVocabulary of `tokenizers` does.

#include <array>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/bpe_model.h"

namespace graft {

// Constant after construction, hence thread-safe.
class AddedTokenMatcher {
 public:
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // A piece of the text: a token's id, or kText with text that is still to be encoded. Never empty.
  struct Piece {
    static constexpr int32_t kText = -1;
    int32_t id;
    absl::string_view text;
  };

  // Cuts `text` (valid UTF-8) and appends the pieces, in order. Tokens that are not `normalized`
  // are looked for first, in all of the text, and each time the leftmost match wins, of those the
  // longest. With `parse_special` false, special tokens stay in the text.
  void Split(absl::string_view text, bool parse_special, std::vector<Piece>* pieces) const;

 private:
  // The tokens of one pass, by first byte, the longest first.
  struct Pass {
    std::array<std::vector<AddedToken>, 256> by_first_byte;
    bool empty = true;

    const AddedToken* Match(absl::string_view text) const;
    void Split(absl::string_view text, bool parse_special, std::vector<Piece>* pieces) const;
  };

  Pass raw_;
  Pass normalized_;
};

}  // namespace graft
