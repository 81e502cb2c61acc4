#pragma once

// GPT-2's byte alphabet (bytes_to_unicode of openai/gpt-2 src/encoder.py): token files spell each
// byte as one visible character. Bytes that are printable in Latin-1 stand for themselves, the
// others for U+0100 and on, in their order.

#include <string>

#include "absl/strings/string_view.h"

namespace graft {

// The spelling of one byte, in UTF-8: "Ġ" for 0x20.
std::string SpellingOfByte(unsigned char byte);

// The bytes that a token's spelling (valid UTF-8) stands for; the spelling itself if it has a
// character that is not of the alphabet, as the ByteLevel decoder of `tokenizers` has it.
std::string BytesOfSpelling(absl::string_view spelling);

}  // namespace graft
