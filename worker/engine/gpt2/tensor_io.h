#pragma once

// Between LibTorch's tensors and the torch-free views of files: the only place.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "common/formats/tensor_view.h"

namespace graft {

// A copy of the file's tensor, converted. UNIMPLEMENTED for element types that models and adapters
// do not use (8-bit floats, unsigned integers over 8 bits).
absl::StatusOr<at::Tensor> TensorFromView(const TensorView& view, at::ScalarType dtype,
                                          at::Device device);
// The same in the file's own element type, on the CPU.
absl::StatusOr<at::Tensor> TensorFromView(const TensorView& view);

// The same for a weight, of which every value must be finite (INVALID_ARGUMENT names the tensor).
// Beside the result it needs memory for a piece of the file only; `on_piece` is called after each.
absl::StatusOr<at::Tensor> WeightFromView(const TensorView& view, at::ScalarType dtype,
                                          at::Device device, const std::function<void()>& on_piece);

// Name, shape and element type as a file says them. The tensor must be of a type that
// TensorFromView reads.
TensorInfo InfoOf(const std::string& name, const at::Tensor& tensor);

// Bytes of a contiguous CPU tensor; valid while the tensor lives.
std::span<const std::byte> BytesOf(const at::Tensor& tensor);

}  // namespace graft
