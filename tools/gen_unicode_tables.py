#!/usr/bin/env python3
"""Writes common/text/unicode_tables.cc: which code points the GPT-2 pre-tokeniser takes for letters, numbers, white space.

The classes are read off the `tokenizers` library itself (its ByteLevel pre-tokeniser), code point by code point, because
other Unicode libraries hold other versions of Unicode and differ at thousands of code points.

    pip install tokenizers && tools/gen_unicode_tables.py > common/text/unicode_tables.cc
"""

import sys

import tokenizers
from tokenizers.pre_tokenizers import ByteLevel

PRE_TOKENIZER = ByteLevel(add_prefix_space=False, use_regex=True)


def joins(probe, char):
    """True if `char` is in one pre-token with `probe`, a character of known class."""
    return len(PRE_TOKENIZER.pre_tokenize_str(probe + char)) == 1


def char_class(code_point):
    """The class of a code point; None is "neither of the three"."""
    if 0xD800 <= code_point <= 0xDFFF:  # surrogates: no characters, and not in valid UTF-8
        return None
    char = chr(code_point)
    if joins("a", char):
        return "kLetter"
    if joins("1", char):
        return "kNumber"
    if joins("!", char):
        return None
    return "kSpace"


def class_ranges():
    ranges = []  # [first, last, class]
    for code_point in range(0x110000):
        name = char_class(code_point)
        if name is None:
            continue
        if ranges and ranges[-1][1] == code_point - 1 and ranges[-1][2] == name:
            ranges[-1][1] = code_point
        else:
            ranges.append([code_point, code_point, name])
    return ranges


def main():
    ranges = class_ranges()
    out = sys.stdout
    out.write(f"// Made by tools/gen_unicode_tables.py from tokenizers {tokenizers.__version__}. Do not edit.\n\n")
    out.write('#include "common/text/unicode_tables.h"\n\nnamespace graft {\n')
    for name in ("kLetter", "kNumber", "kSpace"):
        chosen = [f"{{0x{first:X}, 0x{last:X}}}," for first, last, kind in ranges if kind == name]
        out.write("\n// clang-format off\n")
        out.write(f"const CodePointRange {name}Ranges[] = {{\n")
        line = "   "
        for item in chosen:
            if len(line) + 1 + len(item) > 100:
                out.write(line + "\n")
                line = "   "
            line += " " + item
        out.write(line + "\n};\n// clang-format on\n")
        out.write(f"const size_t {name}RangeCount = {len(chosen)};\n")
    out.write("\n}  // namespace graft\n")


if __name__ == "__main__":
    main()
