#include "common/text/rouge_tokens.h"

#include "absl/strings/match.h"
#include "common/text/porter_stemmer.h"

namespace graft {
namespace {

constexpr size_t kLongestUnstemmed = 3;

// The ASCII token character that a character lower-cases to, or 0, and how many bytes it has. Of
// all Unicode two characters beyond ASCII have one: KELVIN SIGN becomes "k", and capital I with dot
// "i" and a combining dot.
struct LowerCase {
  char c;
  size_t size;
  bool ends_token;  // something that is no token character follows
};

LowerCase ToLower(absl::string_view text) {
  const char c = text[0];
  if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) return {c, 1, false};
  if (c >= 'A' && c <= 'Z') return {static_cast<char>(c | 0x20), 1, false};
  if (absl::StartsWith(text, "\xE2\x84\xAA")) return {'k', 3, false};
  if (absl::StartsWith(text, "\xC4\xB0")) return {'i', 2, true};
  return {0, 1, true};
}

}  // namespace

std::vector<RougeTokenSpan> FindRougeTokens(absl::string_view text, bool use_stemmer,
                                            std::string* normal) {
  std::vector<RougeTokenSpan> tokens;
  normal->clear();
  normal->reserve(text.size());
  size_t begin = 0;  // of the token that is being read
  int32_t line = 0;
  const auto end_token = [&] {
    size_t size = normal->size() - begin;
    if (size == 0) return;
    if (use_stemmer && size > kLongestUnstemmed) size = PorterStem(&(*normal)[begin], size);
    if (size > 0) tokens.push_back({begin, size, line});
    normal->resize(begin + size);
    begin = normal->size();
  };
  while (!text.empty()) {
    const LowerCase lower = ToLower(text);
    if (lower.c != 0) normal->push_back(lower.c);
    if (lower.ends_token) end_token();
    if (text[0] == '\n') ++line;
    text.remove_prefix(lower.size);
  }
  end_token();
  return tokens;
}

RougeText RougeVocabulary::Read(absl::string_view text) {
  RougeText result;
  const std::vector<RougeTokenSpan> tokens = FindRougeTokens(text, use_stemmer_, &normal_);
  result.ids.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && tokens[i].line != tokens[i - 1].line) result.sentence_ends.push_back(i);
    const absl::string_view token(normal_.data() + tokens[i].begin, tokens[i].size);
    result.ids.push_back(id_of_.try_emplace(token, size()).first->second);
  }
  if (!tokens.empty()) result.sentence_ends.push_back(tokens.size());
  return result;
}

}  // namespace graft
