#pragma once

#include <cstdio>
#include <string>

namespace graft {

// The last lines of a terminal, redrawn in place; nothing at all where `stream` takes no escape
// codes. The cursor rests at their beginning, as LiveLine's does. Not thread-safe.
class LiveBlock {
 public:
  explicit LiveBlock(FILE* stream);
  ~LiveBlock() { Erase(); }
  LiveBlock(const LiveBlock&) = delete;

  bool live() const { return live_; }
  // Of the terminal; what is drawn must have fewer.
  size_t rows() const;
  // One line or more, each with its end, none wider than the terminal.
  void Draw(const std::string& lines);
  // Whatever else is to be printed comes after this.
  void Erase();

 private:
  FILE* const stream_;
  const bool live_;
  bool drawn_ = false;
};

}  // namespace graft
