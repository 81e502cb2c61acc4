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
  std::vector<at::Tensor> results;
  int64_t begin = 0;
  for (size_t first = 0; first < rows.size();) {
    size_t end = first;
    int64_t count = 0;
    while (end < rows.size() && part(*rows[end].network).is_same(part(*rows[first].network))) {
      count += rows[end++].count;
    }
    const bool is_all = first == 0 && end == rows.size();
    results.push_back(
        apply(rows.subspan(first, end - first), is_all ? x : x.narrow(0, begin, count)));
    begin += count;
    first = end;
  }
  return results.size() == 1 ? results[0] : at::cat(results);
}

// An order of networks in which those that share most stand beside each other: indices, equal
// networks together, first those that have all of the base's projections.
std::vector<size_t> OrderBySharing(std::span<const Gpt2Network* const> networks);

}  // namespace graft
