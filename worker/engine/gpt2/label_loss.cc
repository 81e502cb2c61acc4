#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "worker/engine/gpt2/blocks.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/product.h"

namespace graft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Logits that may live at once: 16 Mi elements, 64 MiB in fp32.
constexpr int64_t kMaxLogits = int64_t{1} << 24;

at::ScalarType LossType(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

// The labels of rows that share a head.
struct LabelRows {
  at::Tensor targets;  // [N] int64
  at::Tensor scales;   // [N, 1] in the loss's type.
  std::vector<int64_t> counts;
};

LabelRows JoinLabels(std::span<const Labels> labels, at::TensorOptions options) {
  std::vector<at::Tensor> targets, scales;
  LabelRows joined;
  for (const Labels& part : labels) {
    const int64_t count = part.targets.size(0);
    targets.push_back(part.targets);
    scales.push_back(at::full({count, 1}, part.scale, options));
    joined.counts.push_back(count);
  }
  joined.targets = labels.size() == 1 ? targets[0] : at::cat(targets);
  joined.scales = labels.size() == 1 ? scales[0] : at::cat(scales);
  return joined;
}

struct Pieces {
  at::Tensor of_rows;      // [N, 1]: what each row adds to the loss.
  at::Tensor grad_hidden;  // Undefined unless asked for.
  at::Tensor grad_head;    // Likewise; in the loss's dtype.
};

// Cross-entropies times their scale, and the gradients of their sum, over pieces of rows.
Pieces ChunkedCrossEntropy(const at::Tensor& hidden, const at::Tensor& head,
                           const PackedWeight& packed, const LabelRows& labels, bool need_hidden,
                           bool need_head) {
  const at::ScalarType type = LossType(hidden.scalar_type());
  Pieces pieces;
  pieces.of_rows = at::empty({hidden.size(0), 1}, hidden.options().dtype(type));
  if (need_hidden) pieces.grad_hidden = at::empty_like(hidden);
  if (need_head) pieces.grad_head = at::zeros(head.sizes(), head.options().dtype(type));
  const int64_t rows_per_piece = std::max<int64_t>(1, kMaxLogits / head.size(0));
  for (int64_t begin = 0; begin < hidden.size(0); begin += rows_per_piece) {
    const int64_t rows = std::min(rows_per_piece, hidden.size(0) - begin);
    const at::Tensor piece = hidden.narrow(0, begin, rows);
    const at::Tensor target = labels.targets.narrow(0, begin, rows).unsqueeze(1);
    const at::Tensor scale = labels.scales.narrow(0, begin, rows);
    const at::Tensor log_probs = at::log_softmax(WideProduct(piece, head, packed), 1);
    pieces.of_rows.narrow(0, begin, rows).copy_(log_probs.gather(1, target).mul_(scale).neg_());
    if (!need_hidden && !need_head) continue;
    // d loss / d logits = scale * (softmax - onehot)
    at::Tensor grad = log_probs.exp_();
    grad.scatter_add_(1, target, at::full({rows, 1}, -1.0, grad.options()));
    grad = grad.mul_(scale).to(hidden.scalar_type());
    if (need_hidden) pieces.grad_hidden.narrow(0, begin, rows).copy_(Product(grad, head));
    if (need_head) pieces.grad_head.add_(Product(grad.t(), piece));
  }
  return pieces;
}

// The sums of the rows of each of `counts`: [K].
at::Tensor Sums(const at::Tensor& of_rows, const std::vector<int64_t>& counts) {
  if (counts.size() == 1) return of_rows.sum().view({1});
  std::vector<at::Tensor> sums;
  int64_t begin = 0;
  for (const int64_t count : counts) {
    sums.push_back(of_rows.narrow(0, begin, count).sum());
    begin += count;
  }
  return at::stack(sums);
}

class CrossEntropyOfHead : public torch::autograd::Function<CrossEntropyOfHead> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& head, const PackedWeight& packed,
                            const LabelRows& labels) {
    TORCH_INTERNAL_ASSERT(!head.requires_grad() || labels.counts.size() == 1,
                          "several networks train one head");
    Pieces pieces = ChunkedCrossEntropy(hidden, head, packed, labels, hidden.requires_grad(),
                                        head.requires_grad());
    context->save_for_backward({pieces.grad_hidden, pieces.grad_head});
    context->saved_data["counts"] = labels.counts;
    return Sums(pieces.of_rows, labels.counts);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const std::vector<int64_t> counts = context->saved_data["counts"].toIntVector();
    variable_list result(4);
    if (saved[0].defined()) {
      at::Tensor factor = grads[0];
      if (counts.size() > 1) {
        const at::Tensor repeats = at::tensor(counts, at::kLong).to(factor.device());
        factor = factor.repeat_interleave(repeats).unsqueeze(1);
      }
      result[0] = saved[0] * factor.to(saved[0].scalar_type());
    }
    if (saved[1].defined()) result[1] = saved[1] * grads[0].to(saved[1].scalar_type());
    return result;
  }
};

}  // namespace

at::Tensor LabelLosses(std::span<const Labels> labels, const at::Tensor& hidden) {
  std::vector<NetworkRows> rows;
  for (const Labels& part : labels) rows.push_back({part.network, part.targets.size(0), {}});
  size_t first = 0;
  return ForEachSharing(
      rows, FinalNorm(rows, hidden), [](const Gpt2Network& network) { return network.lm_head; },
      [&](std::span<const NetworkRows> same, const at::Tensor& part) {
        const Gpt2Network& network = *same[0].network;
        const LabelRows joined =
            JoinLabels(labels.subspan(first, same.size()),
                       at::TensorOptions(LossType(part.scalar_type())).device(part.device()));
        first += same.size();
        if (c10::GradMode::is_enabled()) {
          return CrossEntropyOfHead::apply(part, network.lm_head, network.head_packed, joined);
        }
        return Sums(
            ChunkedCrossEntropy(part, network.lm_head, network.head_packed, joined, false, false)
                .of_rows,
            joined.counts);
      });
}

at::Tensor EachLabelLoss(const Gpt2Network& network, const at::Tensor& hidden,
                         const at::Tensor& targets) {
  const NetworkRows rows[] = {{&network, targets.size(0), {}}};
  const at::Tensor normalised = FinalNorm(rows, hidden);
  const Labels labels[] = {{&network, targets, 1}};
  const LabelRows joined = JoinLabels(
      labels, at::TensorOptions(LossType(normalised.scalar_type())).device(normalised.device()));
  return ChunkedCrossEntropy(normalised, network.lm_head, network.head_packed, joined, false, false)
      .of_rows;
}

at::Tensor LabelLoss(const Gpt2Network& network, const at::Tensor& hidden,
                     const at::Tensor& targets, double scale) {
  const Labels labels[] = {{&network, targets, scale}};
  return LabelLosses(labels, hidden).squeeze(0);
}

}  // namespace graft
