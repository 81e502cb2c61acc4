#pragma once

// A tensor as a file holds it: name, element type, shape and bytes, row-major and little-endian. It
// owns no bytes and knows no LibTorch; the engine makes its tensors from it in one place.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

// In safetensors' own order (its Rust enum Dtype): a file holds its tensors from the last of these
// to the first.
enum class DType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
};

int64_t ItemSizeBytes(DType dtype);
// As written in files: "F32", "BF16", "BOOL".
absl::string_view DTypeName(DType dtype);
// INVALID_ARGUMENT for a name that is none of the above.
absl::StatusOr<DType> ParseDType(absl::string_view name);

// "[768, 2304]"; "[]" for a scalar.
std::string ShapeText(absl::Span<const int64_t> shape);

// Product of the dimensions times the size of an element. INVALID_ARGUMENT when a dimension is
// negative or the product does not fit in 63 bits.
absl::StatusOr<int64_t> TensorSizeBytes(DType dtype, absl::Span<const int64_t> shape);

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

struct TensorView : TensorInfo {
  // Of a mapped file perhaps: need not be aligned for the element type, so copy from it, do not
  // cast.
  std::span<const std::byte> bytes;
};

}  // namespace graft
