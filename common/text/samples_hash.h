#pragma once

#include <string>
#include <vector>

#include "common/base/sha256.h"

namespace graft {

// Hash over the references that predictions were scored against, in order: for each row, each
// reference's bytes and a zero byte, then a byte 1.
class SamplesHash {
 public:
  void Add(const std::vector<std::string>& references);
  std::string Hex() const { return hash_.Hex(); }

 private:
  Sha256 hash_;
};

}  // namespace graft
