#include "worker/engine/gpt2/product.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

namespace graft {
namespace {

// Of M * K * N, from where on oneDNN gains more than it costs. Few rows: it takes 15 µs to begin.
// Many rows come in ever other numbers, and each new shape takes 2 ms to compile for; a model's
// layers share that. Thin products gain the most.
constexpr int64_t kLeastOfFewRows = int64_t{1} << 20;
constexpr int64_t kLeastOfThin = int64_t{1} << 23;
constexpr int64_t kLeastOfMany = int64_t{1} << 27;
constexpr int64_t kFew = 64;

using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&,
                                   const std::optional<at::Tensor>&, std::string_view,
                                   c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

int64_t LeastForOneDnn(int64_t m, int64_t k, int64_t n) {
  if (m <= kFew) return kLeastOfFewRows;
  return std::min(k, n) <= kFew ? kLeastOfThin : kLeastOfMany;
}

bool IsForOneDnn(const at::Tensor& x, const at::Tensor& w) {
  if (x.scalar_type() != at::kFloat || !x.is_cpu()) return false;
  const int64_t m = x.size(0), k = x.size(1), n = w.size(1);
  return m * k * n >= LeastForOneDnn(m, k, n) && at::hasMKLDNN();
}

// x w + bias by oneDNN. An operator of LibTorch's compiler, with no function of its own.
at::Tensor OneDnnProduct(const at::Tensor& x, const at::Tensor& w,
                         const std::optional<at::Tensor>& bias) {
  static const auto linear = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                                 .typed<LinearPointwise>();
  TORCH_INTERNAL_ASSERT(w.is_contiguous() || w.t().is_contiguous());
  return linear.call(x, w.t(), bias, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt);
}

}  // namespace

at::Tensor Product(const at::Tensor& x, const at::Tensor& w) {
  return IsForOneDnn(x, w) ? OneDnnProduct(x, w, std::nullopt) : at::mm(x, w);
}

at::Tensor Product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  return IsForOneDnn(x, w) ? OneDnnProduct(x, w, bias) : at::addmm(bias, x, w);
}

}  // namespace graft
