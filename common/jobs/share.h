#pragma once

#include <cmath>
#include <cstdint>

namespace graft {

// Rows or steps that a share of `count` is: ceil(share * count) of the product in double precision,
// as transformers' get_warmup_steps has it. So 0.07 of 100 is 8: the product is 7.000000000000001.
inline int64_t CeilShare(double share, int64_t count) {
  return static_cast<int64_t>(std::ceil(share * static_cast<double>(count)));
}

}  // namespace graft
