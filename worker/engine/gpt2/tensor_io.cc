#include "worker/engine/gpt2/tensor_io.h"

#include <ATen/ATen.h>

#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr std::pair<DType, at::ScalarType> kTypes[] = {
    {DType::kBool, at::kBool},  {DType::kU8, at::kByte},       {DType::kI8, at::kChar},
    {DType::kI16, at::kShort},  {DType::kI32, at::kInt},       {DType::kI64, at::kLong},
    {DType::kF16, at::kHalf},   {DType::kBF16, at::kBFloat16}, {DType::kF32, at::kFloat},
    {DType::kF64, at::kDouble},
};

std::optional<at::ScalarType> ScalarTypeOf(DType dtype) {
  for (const auto& [file, torch] : kTypes) {
    if (file == dtype) return torch;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<at::Tensor> TensorFromView(const TensorView& view) {
  const std::optional<at::ScalarType> type = ScalarTypeOf(view.dtype);
  if (!type.has_value()) {
    return absl::UnimplementedError(absl::StrCat("tensor ", view.name, ": element type ",
                                                 DTypeName(view.dtype), " is not supported"));
  }
  at::Tensor tensor = at::empty(view.shape, at::TensorOptions().dtype(*type));
  std::memcpy(tensor.data_ptr(), view.bytes.data(), view.bytes.size());
  return tensor;
}

absl::StatusOr<at::Tensor> TensorFromView(const TensorView& view, at::ScalarType dtype,
                                          at::Device device) {
  ASSIGN_OR_RETURN(at::Tensor tensor, TensorFromView(view));
  return tensor.to(device, dtype);
}

TensorInfo InfoOf(const std::string& name, const at::Tensor& tensor) {
  TensorInfo info;
  info.name = name;
  for (const auto& [file, torch] : kTypes) {
    if (torch == tensor.scalar_type()) info.dtype = file;
  }
  info.shape = tensor.sizes().vec();
  return info;
}

std::span<const std::byte> BytesOf(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace graft
