#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "worker/engine/data/example_source.h"

namespace graft {

// Rows side by side, padded on the right, with the positions whose next token is a label.
struct Batch {
  at::Tensor ids;        // [B, T] int64
  at::Tensor positions;  // [M] int64 into the flattened [B, P + T]: where label m is predicted.
  at::Tensor targets;    // [M] int64: the labels.
  int64_t num_labels() const { return positions.numel(); }
};

// A batch of the given rows of `source`. With num_prompt_rows > 0 the last of these predicts a
// row's first token when that is a label; without, a first token cannot be a label.
Batch MakeBatch(const ExampleSource& source, std::span<const int64_t> rows, int64_t num_prompt_rows,
                at::Device device);

// Labels that MakeBatch would find in these rows.
int64_t CountLabels(const ExampleSource& source, std::span<const int64_t> rows,
                    int64_t num_prompt_rows);

}  // namespace graft
