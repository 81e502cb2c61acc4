#pragma once

// The ids of words already merged. Words repeat, and looking one up is many times cheaper than
// merging it.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

// Direct-mapped and of fixed size: a word takes the place of the one before it in its slot. Not
// thread-safe.
class WordCache {
 public:
  static constexpr size_t kMaxWordBytes = 16;

  // A word in the form in which it is compared. Only words of 1 to kMaxWordBytes bytes have one.
  struct Key {
    uint64_t low = 0;
    uint64_t high = 0;
    uint32_t size = 0;
  };
  // `end` is the end of the memory that may be read, at or behind the word's end.
  static Key KeyOf(absl::string_view word, const char* end) {
    Key key;
    key.size = static_cast<uint32_t>(word.size());
    if (word.size() <= 8) {
      key.low = Load(word.data(), word.size(), end);
    } else {
      key.low = Load(word.data(), 8, end);
      key.high = Load(word.data() + 8, word.size() - 8, end);
    }
    return key;
  }

  WordCache() : slots_(size_t{1} << kBits) {}

  // Empty if the word is not there: no word has no ids.
  absl::Span<const int32_t> Find(const Key& key) const {
    const Slot& slot = slots_[IndexOf(key)];
    if (slot.low != key.low || slot.high != key.high || slot.size != key.size) return {};
    return absl::MakeConstSpan(slot.ids.data(), slot.count);
  }

  // Words of too many ids are not kept.
  void Insert(const Key& key, absl::Span<const int32_t> ids) {
    Slot& slot = slots_[IndexOf(key)];
    if (ids.size() > slot.ids.size()) return;
    slot.low = key.low;
    slot.high = key.high;
    slot.size = static_cast<uint16_t>(key.size);
    slot.count = static_cast<uint16_t>(ids.size());
    std::memcpy(slot.ids.data(), ids.data(), ids.size() * sizeof(int32_t));
  }

 private:
  static constexpr int kBits = 15;
  struct alignas(64) Slot {  // one cache line
    uint64_t low = 0;
    uint64_t high = 0;
    uint16_t size = 0;
    uint16_t count = 0;
    std::array<int32_t, 11> ids;
  };

  // The first `size` (≤ 8) bytes at `p`, the others zero.
  static uint64_t Load(const char* p, size_t size, const char* end) {
    uint64_t value = 0;
    if (end - p >= 8) {
      std::memcpy(&value, p, 8);
      return size == 8 ? value : value & ((uint64_t{1} << size * 8) - 1);
    }
    std::memcpy(&value, p, size);
    return value;
  }

  static size_t IndexOf(const Key& key) {
    const uint64_t mixed = (key.low ^ (key.high * 0xC2B2AE3D27D4EB4FULL)) * 0x9E3779B97F4A7C15ULL;
    return (mixed ^ mixed >> 32) * 0x9E3779B97F4A7C15ULL >> (64 - kBits);
  }

  std::vector<Slot> slots_;
};

}  // namespace graft
