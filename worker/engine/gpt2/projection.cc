#include "worker/engine/gpt2/projection.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "worker/engine/gpt2/product.h"

namespace graft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

ProjectionInput InputOf(const Projection& projection, const AdaptedRows& rows, const at::Tensor& x,
                        int64_t layer, int site) {
  return {projection, x.narrow(0, rows.begin, rows.count), rows.dropout, layer, site};
}

// What a pass leaves for its way back. None of it is the pass's own result.
struct Pass : torch::CustomClassHolder {
  Projection projection;
  std::vector<AdaptedRows> adapted;
  int64_t layer = 0;
  int site = 0;
  at::Tensor x;  // Undefined where no adapter needs it.
  bool needs_input = false;
  std::vector<ProjectionAdapter::Tensors> kept;  // Of each of `adapted`.

  // `x` must not require gradients, or they must be off.
  at::Tensor Forward(const at::Tensor& input) {
    at::Tensor y = projection.packed.defined() ? projection.packed.Linear(input, projection.bias)
                                               : Product(input, projection.weight, projection.bias);
    for (const AdaptedRows& rows : adapted) {
      kept.push_back(rows.adapter->Forward(InputOf(projection, rows, input, layer, site),
                                           y.narrow(0, rows.begin, rows.count)));
    }
    return y;
  }

  // Gradients of the input (undefined unless needed) and of all adapters' tensors.
  variable_list Backward(const at::Tensor& gradient) const {
    std::vector<ProjectionAdapter::Gradients> parts;
    at::Tensor of_product = gradient;
    for (size_t i = 0; i < adapted.size(); ++i) {
      const AdaptedRows& rows = adapted[i];
      const at::Tensor own = gradient.narrow(0, rows.begin, rows.count);
      parts.push_back(
          rows.adapter->Backward(InputOf(projection, rows, x, layer, site), kept[i], own));
      if (parts[i].of_product.is_same(own)) continue;
      if (of_product.is_same(gradient)) of_product = gradient.clone();
      of_product.narrow(0, rows.begin, rows.count).copy_(parts[i].of_product);
    }
    variable_list result(1);
    if (needs_input) {
      result[0] = Product(of_product, projection.weight.t());
      for (size_t i = 0; i < adapted.size(); ++i) {
        const AdaptedRows& rows = adapted[i];
        rows.adapter->AddInputGradient(InputOf(projection, rows, x, layer, site), kept[i], parts[i],
                                       result[0].narrow(0, rows.begin, rows.count));
      }
    }
    for (const ProjectionAdapter::Gradients& part : parts) {
      result.insert(result.end(), part.of_tensors.begin(), part.of_tensors.end());
    }
    return result;
  }
};

// A projection with a frozen weight.
class FrozenProjection : public torch::autograd::Function<FrozenProjection> {
 public:
  // `tensors` are the adapters', so that autograd knows of them.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList tensors,
                            const c10::intrusive_ptr<Pass>& pass) {
    (void)tensors;
    pass->needs_input = x.requires_grad();
    if (!pass->adapted.empty()) pass->x = x;
    context->saved_data["pass"] = c10::IValue::make_capsule(pass);
    return pass->Forward(x);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto pass =
        c10::static_intrusive_pointer_cast<Pass>(context->saved_data["pass"].toCapsule());
    variable_list result = pass->Backward(gradients[0]);
    result.emplace_back();  // Of `pass`.
    return result;
  }
};

// A projection with a trained weight.
class TrainedProjection : public torch::autograd::Function<TrainedProjection> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["needs_input"] = x.requires_grad();
    return Product(x, weight, bias);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor& gradient = gradients[0];
    variable_list result(3);
    if (context->saved_data["needs_input"].toBool()) result[0] = Product(gradient, weight.t());
    result[1] = Product(x.t(), gradient);
    result[2] = gradient.sum(0);
    return result;
  }
};

}  // namespace

at::Tensor Projection::Forward(const at::Tensor& x, std::span<const AdaptedRows> adapted,
                               int64_t layer, int site) const {
  const at::Tensor input = x.to(weight.scalar_type());
  if (weight.requires_grad() && c10::GradMode::is_enabled() && adapted.empty()) {
    return TrainedProjection::apply(input, weight, bias);
  }
  TORCH_INTERNAL_ASSERT(!weight.requires_grad() || !c10::GradMode::is_enabled(),
                        "a weight that is trained has an adapter");
  auto pass = c10::make_intrusive<Pass>();
  pass->projection = *this;
  pass->adapted.assign(adapted.begin(), adapted.end());
  pass->layer = layer;
  pass->site = site;
  if (!c10::GradMode::is_enabled()) return pass->Forward(input);
  std::vector<at::Tensor> tensors;
  for (const AdaptedRows& rows : adapted) {
    const ProjectionAdapter::Tensors own = rows.adapter->tensors();
    tensors.insert(tensors.end(), own.begin(), own.end());
  }
  return FrozenProjection::apply(input, at::TensorList(tensors), pass);
}

}  // namespace graft
