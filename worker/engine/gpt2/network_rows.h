#pragma once

// One pass for rows of several networks on one base.

#include <ATen/ops/cat.h>

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/gpt2/dropout.h"
#include "worker/engine/gpt2/network.h"

namespace graft {

// So many consecutive rows of a flattened activation [N, C] are of this network, which outlives the
// pass. A pass is a list of them that covers all rows, in order.
struct NetworkRows {
  const Gpt2Network* network = nullptr;
  int64_t count = 0;
  Dropout dropout;
};

// What `apply(rows, x)` returns, below each other, of each stretch of `rows` whose networks share a
// part: `part(network)` is the same tensor. So what is the base's own is computed once for all of
// them.
template <typename Part, typename Apply>
at::Tensor ForEachSharing(std::span<const NetworkRows> rows, const at::Tensor& x, const Part& part,
                          const Apply& apply) {
  std::vector<size_t> ends;
  std::vector<int64_t> counts;
  for (size_t first = 0; first < rows.size(); first = ends.back()) {
    size_t end = first;
    int64_t count = 0;
    while (end < rows.size() && part(*rows[end].network).is_same(part(*rows[first].network))) {
      count += rows[end++].count;
    }
    ends.push_back(end);
    counts.push_back(count);
  }
  if (ends.size() == 1) return apply(rows, x);
  const std::vector<at::Tensor> parts = x.split_with_sizes(counts);
  std::vector<at::Tensor> results;
  for (size_t i = 0, first = 0; i < ends.size(); first = ends[i++]) {
    results.push_back(apply(rows.subspan(first, ends[i] - first), parts[i]));
  }
  return at::cat(results);
}

// An order of networks in which those that share most stand beside each other: indices, equal
// networks together, first those that have most of the base's weights.
std::vector<size_t> OrderBySharing(std::span<const Gpt2Network* const> networks);

}  // namespace graft
