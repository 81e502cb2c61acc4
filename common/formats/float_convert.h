#pragma once

// Elements of float tensors as numbers, and back.

#include <cstdint>
#include <span>
#include <string>

#include "common/formats/tensor_view.h"

namespace graft {

// F64, F32, F16 or BF16: what ReadFloats and AppendFloats take.
bool IsFloat(DType dtype);

// The elements from `first` on (of the tensor laid flat), as many as `values` holds. They must be
// there.
void ReadFloats(const TensorView& tensor, int64_t first, std::span<double> values);

// The values' bytes, rounded to the nearest float (ties to even) and from there to F16 or BF16, as
// LibTorch does; what is too large becomes infinite.
void AppendFloats(std::span<const double> values, DType dtype, std::string& bytes);

}  // namespace graft
