#pragma once

// The texts that wait for a place: an adapter's own first come first served, adapters by turns. So
// whoever asks for a thousand texts of one adapter holds up nobody who asks for one of another.

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "server/serving/text.h"

namespace graft {

// Not thread-safe: the broker's mutex guards it. Holds no text; each is here once at the most.
class TextQueue {
 public:
  // What a place must fit.
  struct Kind {
    std::string base;
    bool needs_batching;
    auto operator<=>(const Kind&) const = default;
  };

  void Push(Text& text);
  // One that was taken before: it is the next, and its adapter's turn is.
  void PushFront(Text& text);
  void Remove(Text& text);
  // Null: none is there that a worker can make, one with `batching` or one without.
  Text* Take(const std::string& base, bool batching);
  // Those of which the next are, each once, in turn.
  std::vector<Kind> Kinds() const;
  std::vector<Text*> texts() const;

  size_t size() const { return size_; }

 private:
  // Texts that ask for more wait beside their adapter's others, not in front of them.
  using Key = std::tuple<std::string, std::string, bool>;  // Base, adapter, needs_batching.
  struct Line {
    int64_t turn = 0;  // The least is the next.
    std::deque<Text*> texts;
  };
  static Key KeyOf(const Text& text) {
    return {text.base(), text.adapter(), text.needs_batching()};
  }

  std::map<Key, Line> lines_;  // None is empty.
  int64_t first_turn_ = 0;
  int64_t last_turn_ = 0;
  size_t size_ = 0;
};

}  // namespace graft
