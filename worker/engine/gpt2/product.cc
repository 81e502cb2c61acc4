#include "worker/engine/gpt2/product.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace graft {
namespace {

// Of M * K * N: where both take about 30 µs.
constexpr int64_t kLeastForOneDnn = int64_t{1} << 20;

using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&,
                                   const std::optional<at::Tensor>&, std::string_view,
                                   c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

bool IsForOneDnn(const at::Tensor& x, const at::Tensor& w) {
  return x.scalar_type() == at::kFloat && x.is_cpu() &&
         x.size(0) * x.size(1) * w.size(1) >= kLeastForOneDnn && at::hasMKLDNN();
}

// x w + bias by oneDNN. An operator of LibTorch's compiler, with no function of its own.
at::Tensor OneDnnProduct(const at::Tensor& x, const at::Tensor& w,
                         const std::optional<at::Tensor>& bias) {
  static const auto linear = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                                 .typed<LinearPointwise>();
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
