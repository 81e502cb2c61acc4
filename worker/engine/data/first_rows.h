#pragma once

#include <cstdint>

#include "worker/engine/data/example_source.h"

namespace graft {

// The first `size` rows of another source, which outlives it.
class FirstRows : public ExampleSource {
 public:
  FirstRows(const ExampleSource& source, int64_t size) : source_(source), size_(size) {}
  int64_t size() const override { return size_; }
  Example Get(int64_t index) const override { return source_.Get(index); }
  int64_t Line(int64_t index) const override { return source_.Line(index); }
  int64_t Row(int64_t index) const override { return source_.Row(index); }

 private:
  const ExampleSource& source_;
  const int64_t size_;
};

}  // namespace graft
