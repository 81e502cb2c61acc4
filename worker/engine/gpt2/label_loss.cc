#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/layers.h"

namespace graft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Logits that may live at once: 16 Mi elements, 64 MiB in fp32.
constexpr int64_t kMaxLogits = int64_t{1} << 24;

at::ScalarType LossType(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

struct Pieces {
  at::Tensor loss;
  at::Tensor grad_hidden;  // Undefined unless asked for.
  at::Tensor grad_head;    // Likewise; in the loss's dtype.
};

// Sum of cross-entropies times scale, and its gradients, over pieces of rows.
Pieces ChunkedCrossEntropy(const at::Tensor& hidden, const at::Tensor& head,
                           const PackedWeight& packed, const at::Tensor& targets, double scale,
                           bool need_hidden, bool need_head) {
  const at::ScalarType type = LossType(hidden.scalar_type());
  Pieces pieces;
  pieces.loss = at::zeros({}, hidden.options().dtype(type));
  if (need_hidden) pieces.grad_hidden = at::empty_like(hidden);
  if (need_head) pieces.grad_head = at::zeros(head.sizes(), head.options().dtype(type));
  const int64_t rows_per_piece = std::max<int64_t>(1, kMaxLogits / head.size(0));
  for (int64_t begin = 0; begin < hidden.size(0); begin += rows_per_piece) {
    const int64_t rows = std::min(rows_per_piece, hidden.size(0) - begin);
    at::Tensor piece = hidden.narrow(0, begin, rows);
    at::Tensor target = targets.narrow(0, begin, rows).unsqueeze(1);
    at::Tensor log_probs = at::log_softmax(WideProduct(piece, head, packed), 1);
    pieces.loss.sub_(log_probs.gather(1, target).sum(), scale);
    if (!need_hidden && !need_head) continue;
    // d loss / d logits = scale * (softmax - onehot)
    at::Tensor grad = log_probs.exp_();
    grad.scatter_add_(1, target, at::full({rows, 1}, -1.0, grad.options()));
    grad = grad.mul_(scale).to(hidden.scalar_type());
    if (need_hidden) pieces.grad_hidden.narrow(0, begin, rows).copy_(at::mm(grad, head));
    if (need_head) pieces.grad_head.add_(at::mm(grad.t(), piece));
  }
  return pieces;
}

class CrossEntropyOfHead : public torch::autograd::Function<CrossEntropyOfHead> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& head, const PackedWeight& packed,
                            const at::Tensor& targets, double scale) {
    Pieces pieces = ChunkedCrossEntropy(hidden, head, packed, targets, scale,
                                        hidden.requires_grad(), head.requires_grad());
    context->save_for_backward({pieces.grad_hidden, pieces.grad_head});
    return pieces.loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    variable_list saved = context->get_saved_variables();
    variable_list result(5);
    for (int i = 0; i < 2; ++i) {
      if (saved[i].defined()) result[i] = saved[i] * grads[0].to(saved[i].scalar_type());
    }
    return result;
  }
};

}  // namespace

at::Tensor LabelLoss(const Gpt2Network& network, const at::Tensor& hidden,
                     const at::Tensor& targets, double scale) {
  at::Tensor normed = ApplyLayerNorm(network, hidden, network.ln_f);
  if (c10::GradMode::is_enabled()) {
    return CrossEntropyOfHead::apply(normed, network.lm_head, network.head_packed, targets, scale);
  }
  return ChunkedCrossEntropy(normed, network.lm_head, network.head_packed, targets, scale, false,
                             false)
      .loss;
}

}  // namespace graft
