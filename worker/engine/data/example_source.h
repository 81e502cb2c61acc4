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
  // Line of the data set's file at which the row begins (of a block, its first token's row), from
  // 1; for errors.
  virtual int64_t Line(int64_t index) const { return index + 1; }
  // Which row of that file it is, from 0. Of plain text it is the block's own number.
  virtual int64_t Row(int64_t index) const { return index; }
};

}  // namespace graft
