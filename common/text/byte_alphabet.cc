#include "common/text/byte_alphabet.h"

#include <array>

#include "common/text/unicode.h"

namespace graft {
namespace {

constexpr char32_t kAlphabetEnd = 256 + 68;  // 68 bytes are not printable

constexpr bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> MakeAlphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    alphabet[byte] = StandsForItself(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return alphabet;
}

constexpr std::array<char32_t, 256> kAlphabet = MakeAlphabet();

constexpr std::array<int, kAlphabetEnd> MakeInverse() {
  std::array<int, kAlphabetEnd> inverse{};
  for (int& byte : inverse) byte = -1;
  for (int byte = 0; byte < 256; ++byte) inverse[kAlphabet[byte]] = byte;
  return inverse;
}

constexpr std::array<int, kAlphabetEnd> kInverse = MakeInverse();

}  // namespace

std::string SpellingOfByte(unsigned char byte) {
  std::string spelling;
  AppendUtf8(kAlphabet[byte], &spelling);
  return spelling;
}

std::string BytesOfSpelling(absl::string_view spelling) {
  std::string bytes;
  for (size_t i = 0; i < spelling.size();) {
    const DecodedChar c = DecodeValidUtf8(spelling.data() + i);
    if (c.code_point >= kAlphabetEnd || kInverse[c.code_point] < 0) return std::string(spelling);
    bytes.push_back(static_cast<char>(kInverse[c.code_point]));
    i += c.size;
  }
  return bytes;
}

}  // namespace graft
