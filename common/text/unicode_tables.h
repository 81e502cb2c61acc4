#pragma once

// Ranges of code points by class, as the `tokenizers` library classifies them
// (tools/gen_unicode_tables.py writes the source). Sorted, disjoint. Use common/text/unicode.h,
// which makes a quick lookup of them.

#include <cstddef>

namespace graft {

struct CodePointRange {
  char32_t first;
  char32_t last;  // included
};

extern const CodePointRange kLetterRanges[];
extern const size_t kLetterRangeCount;
extern const CodePointRange kNumberRanges[];
extern const size_t kNumberRangeCount;
extern const CodePointRange kSpaceRanges[];
extern const size_t kSpaceRangeCount;

}  // namespace graft
