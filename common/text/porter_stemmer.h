#pragma once

// Porter's stemmer as NLTK has it by default (nltk.stem.porter, mode NLTK_EXTENSIONS), which
// rouge_score uses. M. F. Porter, "An algorithm for suffix stripping", Program 14.3 (1980), with
// Martin Porter's and NLTK's changes.

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace graft {

// Stems a word of lower-case ASCII letters and digits (which count as consonants) in place and
// returns its new size: a stem is never longer than its word. Pure, thread-safe.
size_t PorterStem(char* word, size_t size);

std::string PorterStem(absl::string_view word);

}  // namespace graft
