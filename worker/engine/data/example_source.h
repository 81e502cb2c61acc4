#pragma once

#include <cstdint>
#include <span>

namespace graft {

// One row as the model sees it: `ids` are prompt and target together (or a block of plain text).
// The first num_prompt_tokens carry no label; every later one does.
struct Example {
  std::span<const int32_t> ids;
  int64_t num_prompt_tokens = 0;
};

// Tokenised rows by index, read at random. Implementations read from a memory-mapped file, so that
// a data set larger than memory passes. Const methods are thread-safe.
class ExampleSource {
 public:
  virtual ~ExampleSource() = default;
  virtual int64_t size() const = 0;
  // 0 <= index < size(). The span stays valid while the source lives.
  virtual Example Get(int64_t index) const = 0;
};

}  // namespace graft
