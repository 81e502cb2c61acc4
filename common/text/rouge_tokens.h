#pragma once

// Texts as rouge_score sees them: sequences of tokens, numbered so that they are compared as
// integers.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

// Where the tokens of a text are, in its normal form.
struct RougeTokenSpan {
  size_t begin;
  size_t size;
  int32_t line;  // counted from 0
};

// Lower-cases the text, stems its tokens if asked, and says where they are in `normal`, which it
// overwrites.
std::vector<RougeTokenSpan> FindRougeTokens(absl::string_view text, bool use_stemmer,
                                            std::string* normal);

// A text's token ids, and where each of its lines that has tokens ends.
struct RougeText {
  std::vector<int32_t> ids;
  std::vector<size_t> sentence_ends;

  size_t sentence_count() const { return sentence_ends.size(); }
  size_t sentence_begin(size_t i) const { return i == 0 ? 0 : sentence_ends[i - 1]; }
  absl::Span<const int32_t> sentence(size_t i) const {
    return absl::MakeConstSpan(ids).subspan(sentence_begin(i),
                                            sentence_ends[i] - sentence_begin(i));
  }
};

// Gives equal tokens of several texts equal ids, from 0 without gaps. One thread at a time.
class RougeVocabulary {
 public:
  explicit RougeVocabulary(bool use_stemmer) : use_stemmer_(use_stemmer) {}

  RougeText Read(absl::string_view text);
  int32_t size() const { return static_cast<int32_t>(id_of_.size()); }

 private:
  const bool use_stemmer_;
  std::string normal_;
  absl::flat_hash_map<std::string, int32_t> id_of_;
};

}  // namespace graft
