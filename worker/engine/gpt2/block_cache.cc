#include "worker/engine/gpt2/block_cache.h"

#include <sys/mman.h>

#include <algorithm>

namespace graft {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;
// Blocks begin at places of their own in a page: rows of several that lie at the same one would
// compete for the same lines of the processor's caches.
constexpr size_t kLine = 64, kPlaces = kPage / kLine;

size_t RoundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

void* BlockCache::Take(size_t bytes) {
  MutexLock lock(mutex_);
  const size_t needed = RoundUp(bytes + kPage, kPage);
  const auto fits = kept_.lower_bound(needed);
  if (fits != kept_.end() && fits->first <= needed + needed / 4) {
    const Block block = fits->second;
    kept_.erase(fits);
    kept_bytes_ -= block.bytes;
    return Use(block, bytes);
  }
  const size_t size = RoundUp(needed, needed < 8 * kHugePage ? kPage : kHugePage);
  UnmapFor(size);
  Block block;
  block.bytes = size;
  block.mapping = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block.mapping == MAP_FAILED) return nullptr;
  // Fewer, larger faults; where there are no such pages nothing changes.
  (void)madvise(block.mapping, size, MADV_HUGEPAGE);
  return Use(block, bytes);
}

void* BlockCache::Use(Block block, size_t bytes) {
  block.wanted = bytes;
  void* const data = static_cast<char*>(block.mapping) + count_++ % kPlaces * kLine;
  used_[data] = block;
  used_bytes_ += block.bytes;
  most_used_bytes_ = std::max(most_used_bytes_, used_bytes_);
  return data;
}

size_t BlockCache::Give(void* data) {
  MutexLock lock(mutex_);
  const auto used = used_.find(data);
  if (used == used_.end()) return 0;
  Block block = used->second;
  used_.erase(used);
  used_bytes_ -= block.bytes;
  block.given_back = count_++;
  kept_bytes_ += block.bytes;
  kept_.emplace(block.bytes, block);
  return block.wanted;
}

void BlockCache::UnmapFor(size_t bytes) {
  const size_t most = std::max(most_used_bytes_, used_bytes_ + bytes);
  while (!kept_.empty() && used_bytes_ + kept_bytes_ + bytes > most) UnmapOldest();
}

void BlockCache::UnmapOldest() {
  const auto oldest = std::min_element(
      kept_.begin(), kept_.end(),
      [](const auto& a, const auto& b) { return a.second.given_back < b.second.given_back; });
  munmap(oldest->second.mapping, oldest->second.bytes);
  kept_bytes_ -= oldest->second.bytes;
  kept_.erase(oldest);
}

void BlockCache::Release() {
  MutexLock lock(mutex_);
  while (!kept_.empty()) UnmapOldest();
  most_used_bytes_ = used_bytes_;
}

int64_t BlockCache::mapped_bytes() {
  MutexLock lock(mutex_);
  return static_cast<int64_t>(used_bytes_ + kept_bytes_);
}

}  // namespace graft
