#include "common/formats/float_convert.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace graft {
namespace {

float FromBf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Sign, 5 bits of exponent (bias 15), 10 bits of fraction.
float FromF16(uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f;
  const int fraction = bits & 0x3ff;
  float value = 0;
  if (exponent == 0x1f) {
    value = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    value = std::ldexp(static_cast<float>(fraction | 0x400), exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

uint16_t ToF16(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return sign | 0x7e00;
  const float size = std::fabs(value);
  if (size >= 65520.0f) return sign | 0x7c00;  // Nearer to 65536 than to 65504, the largest.
  int exponent = -14;                          // Subnormals have the smallest one's step.
  if (size >= 0x1p-14f) exponent = std::ilogb(size);
  // nearbyint rounds ties to even; a carry into the exponent is what the format means by it.
  const auto steps = static_cast<uint16_t>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  return static_cast<uint16_t>(sign | ((exponent + 14) * 0x400 + steps));
}

// Not a cast: a tensor's bytes need not be aligned.
template <typename Element, typename Convert>
void Read(const std::byte* bytes, std::span<double> values, const Convert& convert) {
  for (size_t i = 0; i < values.size(); ++i) {
    Element element;
    std::memcpy(&element, bytes + i * sizeof(Element), sizeof(Element));
    values[i] = convert(element);
  }
}

template <typename Element, typename Convert>
void Append(std::span<const double> values, std::string& bytes, const Convert& convert) {
  const size_t begin = bytes.size();
  bytes.resize(begin + values.size() * sizeof(Element));
  for (size_t i = 0; i < values.size(); ++i) {
    const Element element = convert(values[i]);
    std::memcpy(&bytes[begin + i * sizeof(Element)], &element, sizeof(Element));
  }
}

}  // namespace

bool IsFloat(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

void ReadFloats(const TensorView& tensor, int64_t first, std::span<double> values) {
  const std::byte* bytes = tensor.bytes.data() + first * ItemSizeBytes(tensor.dtype);
  switch (tensor.dtype) {
    case DType::kF64:
      return Read<double>(bytes, values, [](double value) { return value; });
    case DType::kF16:
      return Read<uint16_t>(bytes, values, FromF16);
    case DType::kBF16:
      return Read<uint16_t>(bytes, values, FromBf16);
    default:
      return Read<float>(bytes, values, [](float value) { return value; });
  }
}

void AppendFloats(std::span<const double> values, DType dtype, std::string& bytes) {
  const auto narrow = [](double value) { return static_cast<float>(value); };
  switch (dtype) {
    case DType::kF64:
      return Append<double>(values, bytes, [](double value) { return value; });
    case DType::kF16:
      return Append<uint16_t>(values, bytes, [&](double value) { return ToF16(narrow(value)); });
    case DType::kBF16:
      return Append<uint16_t>(values, bytes, [&](double value) { return ToBf16(narrow(value)); });
    default:
      return Append<float>(values, bytes, narrow);
  }
}

}  // namespace graft
