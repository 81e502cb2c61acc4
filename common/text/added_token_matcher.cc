#include "common/text/added_token_matcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "common/text/unicode.h"

namespace graft {
namespace {

size_t SpaceAtBegin(absl::string_view text) {
  size_t size = 0;
  while (size < text.size()) {
    const DecodedChar c = DecodeValidUtf8(text.data() + size);
    if (CharClasses::Get().Of(c.code_point) != CharClass::kSpace) break;
    size += c.size;
  }
  return size;
}

size_t SpaceAtEnd(absl::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    const DecodedChar c = DecodeValidUtf8(text.data() + begin);
    if (CharClasses::Get().Of(c.code_point) != CharClass::kSpace) break;
    end = begin;
  }
  return text.size() - end;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) {
  for (AddedToken& token : tokens) {
    Pass& pass = token.normalized ? normalized_ : raw_;
    pass.empty = false;
    const auto first = static_cast<unsigned char>(token.content[0]);
    pass.by_first_byte[first].push_back(std::move(token));
  }
  for (Pass* pass : {&raw_, &normalized_}) {
    for (std::vector<AddedToken>& group : pass->by_first_byte) {
      std::stable_sort(group.begin(), group.end(), [](const AddedToken& a, const AddedToken& b) {
        return a.content.size() > b.content.size();
      });
    }
  }
}

const AddedToken* AddedTokenMatcher::Pass::Match(absl::string_view text) const {
  for (const AddedToken& token : by_first_byte[static_cast<unsigned char>(text[0])]) {
    if (absl::StartsWith(text, token.content)) return &token;
  }
  return nullptr;
}

void AddedTokenMatcher::Pass::Split(absl::string_view text, bool parse_special,
                                    std::vector<Piece>* pieces) const {
  size_t done = 0;  // the pieces so far end here
  for (size_t i = 0; !empty && i < text.size();) {
    const AddedToken* token = Match(text.substr(i));
    if (token == nullptr) {
      ++i;
      continue;
    }
    const size_t match_end = i + token->content.size();
    if (parse_special || !token->special) {
      size_t begin = i;
      size_t end = match_end;
      // What an earlier match has swallowed is not given to this one again.
      if (token->lstrip) begin = std::max(i - SpaceAtEnd(text.substr(0, i)), done);
      if (token->rstrip) end += SpaceAtBegin(text.substr(match_end));
      if (begin > done) pieces->push_back({Piece::kText, text.substr(done, begin - done)});
      pieces->push_back({token->id, text.substr(begin, end - begin)});
      done = end;
    }
    i = match_end;
  }
  if (done < text.size()) pieces->push_back({Piece::kText, text.substr(done)});
}

void AddedTokenMatcher::Split(absl::string_view text, bool parse_special,
                              std::vector<Piece>* pieces) const {
  if (raw_.empty) {
    normalized_.Split(text, parse_special, pieces);
    return;
  }
  std::vector<Piece> first;
  raw_.Split(text, parse_special, &first);
  for (const Piece& piece : first) {
    if (piece.id == Piece::kText) {
      normalized_.Split(piece.text, parse_special, pieces);
    } else {
      pieces->push_back(piece);
    }
  }
}

}  // namespace graft
