#include "common/text/porter_stemmer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"

namespace graft {
namespace {

using absl::string_view;

// Irregular forms, which no rule is applied to.
constexpr std::pair<string_view, string_view> kIrregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"},
};

bool IsVowelLetter(char c) { return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u'; }

// Of a letter behind one that is a consonant or not: y is a consonant at the beginning and behind a
// vowel.
bool IsConsonantAfter(char c, bool previous_is_consonant) {
  if (IsVowelLetter(c)) return false;
  return c != 'y' || !previous_is_consonant;
}

bool IsConsonant(string_view word, size_t i) {
  size_t first = i;  // the first of a run of y's that ends at i
  while (first > 0 && word[first] == 'y') --first;
  bool consonant = IsConsonantAfter(word[first], false);
  while (first < i) consonant = IsConsonantAfter(word[++first], consonant);
  return consonant;
}

// m of the paper: how often a vowel is followed by a consonant.
int Measure(string_view stem) {
  int count = 0;
  bool previous = false;
  for (size_t i = 0; i < stem.size(); ++i) {
    const bool consonant = IsConsonantAfter(stem[i], previous);
    if (i > 0 && consonant && !previous) ++count;
    previous = consonant;
  }
  return count;
}

bool ContainsVowel(string_view stem) {
  bool consonant = false;
  for (const char c : stem) {
    consonant = IsConsonantAfter(c, consonant);
    if (!consonant) return true;
  }
  return false;
}

// *d of the paper.
bool EndsWithDoubleConsonant(string_view word) {
  const size_t size = word.size();
  return size >= 2 && word[size - 1] == word[size - 2] && IsConsonant(word, size - 1);
}

// *o of the paper, and NLTK's words of a vowel and a consonant.
bool EndsCvc(string_view word) {
  const size_t size = word.size();
  if (size == 2) return !IsConsonant(word, 0) && IsConsonant(word, 1);
  if (size < 3) return false;
  const char last = word[size - 1];
  return IsConsonant(word, size - 3) && !IsConsonant(word, size - 2) &&
         IsConsonant(word, size - 1) && last != 'w' && last != 'x' && last != 'y';
}

// The word as it is being changed, in the caller's memory.
struct Word {
  char* data;
  size_t size;

  string_view view() const { return {data, size}; }
  bool EndsWith(string_view suffix) const { return absl::EndsWith(view(), suffix); }
  string_view Without(size_t count) const { return {data, size - count}; }
  void Replace(size_t suffix_size, string_view replacement) {
    size -= suffix_size;
    std::copy(replacement.begin(), replacement.end(), data + size);
    size += replacement.size();
  }
};

struct Rule {
  string_view suffix;
  string_view replacement;
};

// Applies the first rule whose suffix the word has, if what stands before it has a measure above
// `above`.
template <size_t kCount>
void ApplyFirst(const Rule (&rules)[kCount], int above, Word* word) {
  for (const Rule& rule : rules) {
    if (!word->EndsWith(rule.suffix)) continue;
    if (Measure(word->Without(rule.suffix.size())) > above) {
      word->Replace(rule.suffix.size(), rule.replacement);
    }
    return;
  }
}

void Step1a(Word* word) {
  if (!word->EndsWith("s") || word->EndsWith("ss")) return;
  if (word->EndsWith("ies")) {
    word->Replace(3, word->size == 4 ? "ie" : "i");
  } else {
    word->Replace(word->EndsWith("sses") ? 2 : 1, "");
  }
}

// What follows the removal of "ed" or "ing".
void RestoreEnd(Word* word) {
  if (word->EndsWith("at") || word->EndsWith("bl") || word->EndsWith("iz")) {
    word->Replace(0, "e");
  } else if (EndsWithDoubleConsonant(word->view())) {
    const char last = word->data[word->size - 1];
    if (last != 'l' && last != 's' && last != 'z') word->Replace(1, "");
  } else if (Measure(word->view()) == 1 && EndsCvc(word->view())) {
    word->Replace(0, "e");
  }
}

void Step1b(Word* word) {
  if (word->EndsWith("ied")) {
    word->Replace(3, word->size == 4 ? "ie" : "i");
  } else if (word->EndsWith("eed")) {
    if (Measure(word->Without(3)) > 0) word->Replace(1, "");
  } else {
    const size_t suffix_size = word->EndsWith("ed") ? 2 : word->EndsWith("ing") ? 3 : 0;
    if (suffix_size == 0 || !ContainsVowel(word->Without(suffix_size))) return;
    word->Replace(suffix_size, "");
    RestoreEnd(word);
  }
}

void Step1c(Word* word) {
  if (word->size > 2 && word->EndsWith("y") && IsConsonant(word->view(), word->size - 2)) {
    word->Replace(1, "i");
  }
}

void Step2(Word* word) {
  static constexpr Rule kRules[] = {
      {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},
      {"izer", "ize"},    {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"},
      {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
      {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"},
      {"ousness", "ous"}, {"aliti", "al"},    {"iviti", "ive"},   {"biliti", "ble"},
      {"fulli", "ful"},
  };
  // NLTK applies "alli" first and goes through the step once more.
  while (word->EndsWith("alli") && Measure(word->Without(4)) > 0) word->Replace(4, "al");
  if (word->EndsWith("logi")) {
    if (Measure(word->Without(3)) > 0) word->Replace(1, "");  // the l counts with the stem
    return;
  }
  ApplyFirst(kRules, 0, word);
}

void Step3(Word* word) {
  static constexpr Rule kRules[] = {
      {"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
      {"ical", "ic"},  {"ful", ""},   {"ness", ""},
  };
  ApplyFirst(kRules, 0, word);
}

void Step4(Word* word) {
  static constexpr Rule kRules[] = {
      {"al", ""},   {"ance", ""}, {"ence", ""},  {"er", ""},   {"ic", ""},  {"able", ""},
      {"ible", ""}, {"ant", ""},  {"ement", ""}, {"ment", ""}, {"ent", ""}, {"ou", ""},
      {"ism", ""},  {"ate", ""},  {"iti", ""},   {"ous", ""},  {"ive", ""}, {"ize", ""},
  };
  if (word->EndsWith("ion")) {
    const string_view stem = word->Without(3);
    if (Measure(stem) > 1 && (stem.back() == 's' || stem.back() == 't')) word->Replace(3, "");
    return;
  }
  ApplyFirst(kRules, 1, word);
}

void Step5(Word* word) {
  if (word->EndsWith("e")) {
    const string_view stem = word->Without(1);
    const int measure = Measure(stem);
    if (measure > 1 || (measure == 1 && !EndsCvc(stem))) word->Replace(1, "");
  }
  if (word->EndsWith("ll") && Measure(word->Without(1)) > 1) word->Replace(1, "");
}

}  // namespace

size_t PorterStem(char* data, size_t size) {
  Word word{data, size};
  if (size <= 2) return size;
  for (const auto& [form, stem] : kIrregular) {
    if (word.view() != form) continue;
    word.Replace(size, stem);
    return word.size;
  }
  Step1a(&word);
  Step1b(&word);
  Step1c(&word);
  Step2(&word);
  Step3(&word);
  Step4(&word);
  Step5(&word);
  return word.size;
}

std::string PorterStem(string_view word) {
  std::string stem(word);
  stem.resize(PorterStem(stem.data(), stem.size()));
  return stem;
}

}  // namespace graft
