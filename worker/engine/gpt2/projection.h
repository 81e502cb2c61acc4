#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "worker/engine/gpt2/dropout.h"
#include "worker/engine/gpt2/wide_product.h"

namespace graft {

struct Projection;

// What a projection's adapter sees of a pass: the rows that are its own, and where it stands.
struct ProjectionInput {
  const Projection& projection;
  at::Tensor x;  // [N, in]
  const Dropout& dropout;
  int64_t layer = 0;
  int site = 0;
};

// What an adapter makes of a projection's result, on the rows that are its own. Forward and
// backward are written out, so that many adapters can share one pass through a frozen weight.
// Immutable.
class ProjectionAdapter {
 public:
  using Tensors = std::vector<at::Tensor>;

  virtual ~ProjectionAdapter() = default;

  // Those that it may train, in the type of the projection.
  virtual Tensors tensors() const = 0;

  // y [N, out], which holds x W + b, becomes the adapter's result in place. Returns what Backward
  // needs besides the input.
  virtual Tensors Forward(const ProjectionInput& input, at::Tensor y) const = 0;

  struct Gradients {
    Tensors of_tensors;     // In the order of tensors().
    at::Tensor of_product;  // Of x W + b: the result's own where the adapter only adds to it.
    Tensors rest;           // What AddInputGradient needs.
  };
  // `kept` is what Forward returned, gradient [N, out] the result's; changes neither.
  virtual Gradients Backward(const ProjectionInput& input, const Tensors& kept,
                             const at::Tensor& gradient) const = 0;
  // Adds what the adapter itself carries back to x to that of x W, in place: [N, in].
  virtual void AddInputGradient(const ProjectionInput& input, const Tensors& kept,
                                const Gradients& gradients, at::Tensor of_input) const = 0;
};

// Rows [begin, begin + count) of a projection's input, and the adapter that is theirs.
struct AdaptedRows {
  std::shared_ptr<const ProjectionAdapter> adapter;
  int64_t begin = 0;
  int64_t count = 0;
  Dropout dropout;
};

// One linear layer of a block, y = x W + b, as published (Conv1D): weight [in, out], bias [out]. It
// knows the type of its factors and how its weight is best laid out. A value: copies share the
// tensors. A weight that is trained has no adapter.
struct Projection {
  at::Tensor weight;
  at::Tensor bias;
  PackedWeight packed;  // weight's while it is frozen, if that is faster.
  std::shared_ptr<const ProjectionAdapter> adapter;  // Of the network that it stands in, if any.

  // x [N, in] of any type → [N, out] in the weight's, with the adapters of `adapted` (disjoint) on
  // their rows; `adapter` itself is not asked.
  at::Tensor Forward(const at::Tensor& x, std::span<const AdaptedRows> adapted, int64_t layer,
                     int site) const;
};

}  // namespace graft
