#include "worker/engine/gpt2/tensor_io.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
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

// Of a weight that is read in pieces.
constexpr int64_t kPieceBytes = 1 << 20;

// NaN and the infinities have all bits of the exponent set.
template <typename Bits>
bool HaveFiniteExponents(const void* values, int64_t count, Bits exponent) {
  const Bits* bits = static_cast<const Bits*>(values);
  bool found = false;
  for (int64_t i = 0; i < count; ++i) found |= (bits[i] & exponent) == exponent;
  return !found;
}

// On this thread: the values were just copied, and to wake others for each piece costs more.
bool IsFinite(const at::Tensor& values) {
  const void* data = values.const_data_ptr();
  switch (values.scalar_type()) {
    case at::kHalf:
      return HaveFiniteExponents<uint16_t>(data, values.numel(), 0x7c00);
    case at::kBFloat16:
      return HaveFiniteExponents<uint16_t>(data, values.numel(), 0x7f80);
    case at::kFloat:
      return HaveFiniteExponents<uint32_t>(data, values.numel(), 0x7f800000);
    case at::kDouble:
      return HaveFiniteExponents<uint64_t>(data, values.numel(), 0x7ff0000000000000);
    default:
      return true;
  }
}

std::optional<at::ScalarType> ScalarTypeOf(DType dtype) {
  for (const auto& [file, torch] : kTypes) {
    if (file == dtype) return torch;
  }
  return std::nullopt;
}

absl::StatusOr<at::ScalarType> StoredType(const TensorView& view) {
  const std::optional<at::ScalarType> type = ScalarTypeOf(view.dtype);
  if (type.has_value()) return *type;
  return absl::UnimplementedError(absl::StrCat("tensor ", view.name, ": element type ",
                                               DTypeName(view.dtype), " is not supported"));
}

}  // namespace

absl::StatusOr<at::Tensor> WeightFromView(const TensorView& view, at::ScalarType dtype,
                                          at::Device device,
                                          const std::function<void()>& on_piece) {
  ASSIGN_OR_RETURN(const at::ScalarType stored, StoredType(view));
  const int64_t item = ItemSizeBytes(view.dtype);
  const at::Tensor result = at::empty(view.shape, at::TensorOptions(dtype).device(device));
  const at::Tensor values = result.view({-1});
  const bool is_direct = device.is_cpu() && dtype == stored;
  const int64_t most = std::min(kPieceBytes / item, values.numel());
  const at::Tensor buffer = is_direct ? values : at::empty({most}, stored);
  for (int64_t begin = 0, count = 0; begin < values.numel(); begin += count) {
    count = std::min(most, values.numel() - begin);
    const at::Tensor piece = buffer.narrow(0, is_direct ? begin : 0, count);
    std::memcpy(piece.data_ptr(), view.bytes.data() + begin * item, count * item);
    if (!IsFinite(piece)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", view.name, " holds NaN or infinite values"));
    }
    if (!is_direct) values.narrow(0, begin, count).copy_(piece);
    on_piece();
  }
  return result;
}

absl::StatusOr<at::Tensor> TensorFromView(const TensorView& view) {
  ASSIGN_OR_RETURN(const at::ScalarType type, StoredType(view));
  at::Tensor tensor = at::empty(view.shape, at::TensorOptions().dtype(type));
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
