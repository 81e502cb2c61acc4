#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>

#include "common/base/mutex.h"

namespace graft {

// Large blocks of memory, each mapped by itself, that are kept for the next ones when they are
// given back. A heap that is given blocks of ever new sizes, as steps of ever new lengths are,
// breaks up: it grew to twice what was in use. Here a block serves what is at most a quarter
// smaller, and what is kept goes as soon as it would be more than was in use at once before.
// Thread-safe.
class BlockCache {
 public:
  // Smaller ones are the heap's business.
  static constexpr size_t kLeastBytes = size_t{1} << 20;

  BlockCache() = default;
  ~BlockCache() { Release(); }

  // Aligned to 64 bytes; as the last user left it, or zeros. nullptr: the machine has no more.
  void* Take(size_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // What Take asked for; 0: the block is not of here, and nothing was done.
  size_t Give(void* data) ABSL_LOCKS_EXCLUDED(mutex_);
  // Unmaps what is kept, and forgets how much was in use before.
  void Release() ABSL_LOCKS_EXCLUDED(mutex_);

  // All that is mapped, in use or kept.
  int64_t mapped_bytes() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Block {
    void* mapping = nullptr;
    size_t bytes = 0;  // Of the mapping.
    size_t wanted = 0;
    uint64_t given_back = 0;  // When: a count.
  };

  void* Use(Block block, size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes room for so much more.
  void UnmapFor(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UnmapOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  std::unordered_map<void*, Block> used_ ABSL_GUARDED_BY(mutex_);  // By where their data are.
  std::multimap<size_t, Block> kept_ ABSL_GUARDED_BY(mutex_);      // By size.
  size_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;                  // Of mappings.
  size_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t most_used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace graft
