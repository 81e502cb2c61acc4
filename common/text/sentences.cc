#include "common/text/sentences.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace graft {
namespace {

using absl::string_view;

constexpr string_view kAbbreviations[] = {
    "Mr",  "Mrs", "Ms",  "Dr",  "Prof", "St",   "Sgt",  "Lt",  "Col", "Gen",  "Capt", "Cmdr",
    "Rev", "Hon", "Sen", "Rep", "Gov",  "Pres", "Jr",   "Sr",  "Co",  "Corp", "Inc",  "Ltd",
    "vs",  "Jan", "Feb", "Mar", "Apr",  "Aug",  "Sept", "Sep", "Oct", "Nov",  "Dec",
};
// What may stand between a sentence's end and the white space behind it.
constexpr string_view kClosers[] = {"\"", "'", ")", "]", "\u201D", "\u2019", "\u00BB"};

bool IsTerminator(char c) { return c == '.' || c == '!' || c == '?'; }

// Does the word in front of a full stop show that it ends no sentence: "Mr", an initial, or "U.S"?
bool IsAbbreviation(string_view before) {
  size_t begin = before.size();
  while (begin > 0 && (absl::ascii_isalnum(before[begin - 1]) || before[begin - 1] == '.')) --begin;
  const string_view word = before.substr(begin);
  if (word.empty()) return false;
  const bool initial = word.size() == 1 || word[word.size() - 2] == '.';
  if (initial && absl::ascii_isupper(word.back())) return true;
  return std::find(std::begin(kAbbreviations), std::end(kAbbreviations), word) !=
         std::end(kAbbreviations);
}

size_t SkipClosers(string_view text, size_t at) {
  while (true) {
    const auto* closer = std::find_if(std::begin(kClosers), std::end(kClosers), [&](string_view c) {
      return absl::StartsWith(text.substr(at), c);
    });
    if (closer == std::end(kClosers)) return at;
    at += closer->size();
  }
}

// The end of the sentence that begins at `begin`.
size_t SentenceEnd(string_view text, size_t begin) {
  for (size_t i = begin; i < text.size(); ++i) {
    if (!IsTerminator(text[i])) continue;
    const bool abbreviation = text[i] == '.' && IsAbbreviation(text.substr(begin, i - begin));
    while (i + 1 < text.size() && IsTerminator(text[i + 1])) ++i;
    const size_t end = SkipClosers(text, i + 1);
    size_t next = end;
    while (next < text.size() && absl::ascii_isspace(text[next])) ++next;
    if (next == text.size()) return text.size();
    const bool number = absl::EndsWith(text.substr(begin, i - begin), "No") &&
                        absl::ascii_isdigit(text[next]);  // "No. 7"
    if (next > end && !absl::ascii_islower(text[next]) && !abbreviation && !number) return end;
  }
  return text.size();
}

}  // namespace

std::vector<string_view> SplitSentences(string_view text) {
  text = absl::StripAsciiWhitespace(text);
  std::vector<string_view> sentences;
  if (absl::StrContains(text, '\n')) {
    for (const string_view line : absl::StrSplit(text, '\n')) {
      const string_view sentence = absl::StripAsciiWhitespace(line);
      if (!sentence.empty()) sentences.push_back(sentence);
    }
    return sentences;
  }
  while (!text.empty()) {
    const size_t end = SentenceEnd(text, 0);
    sentences.push_back(text.substr(0, end));
    text = absl::StripLeadingAsciiWhitespace(text.substr(end));
  }
  return sentences;
}

std::string LeadSentences(string_view text, size_t count) {
  std::vector<string_view> sentences = SplitSentences(text);
  if (sentences.size() > count) sentences.resize(count);
  return absl::StrJoin(sentences, "\n");
}

std::string ExtractiveOracle(string_view document, absl::Span<const std::string> targets,
                             size_t count, const RougeOptions& options) {
  const std::vector<string_view> sentences = SplitSentences(document);
  std::vector<char> chosen(sentences.size());
  const auto join = [&] {
    std::vector<string_view> parts;
    for (size_t i = 0; i < sentences.size(); ++i) {
      if (chosen[i]) parts.push_back(sentences[i]);
    }
    return absl::StrJoin(parts, "\n");
  };
  const auto score = [&](const std::string& text) {
    double greatest = 0;
    for (const std::string& target : targets) {
      const RougeNgramScores scores = ScoreRougeNgrams(target, text, options);
      greatest = std::max(greatest, scores.rouge1.f + scores.rouge2.f);
    }
    return greatest;
  };
  double best = 0;
  for (size_t round = 0; round < count; ++round) {
    size_t best_sentence = sentences.size();
    for (size_t i = 0; i < sentences.size(); ++i) {
      if (chosen[i]) continue;
      chosen[i] = 1;
      const double candidate = score(join());
      chosen[i] = 0;
      if (candidate <= best) continue;
      best = candidate;
      best_sentence = i;
    }
    if (best_sentence == sentences.size()) break;
    chosen[best_sentence] = 1;
  }
  return join();
}

}  // namespace graft
