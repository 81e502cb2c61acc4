#include "worker/engine/gpt2/block_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace graft {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST(BlockCacheTest, ABlockIsUsedAgainForWhatIsNotMuchSmaller) {
  BlockCache cache;
  void* const block = cache.Take(10 * kMiB);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
  std::memset(block, 1, 10 * kMiB);
  const int64_t mapped = cache.mapped_bytes();
  EXPECT_EQ(cache.Give(block), 10 * kMiB);
  void* const smaller = cache.Take(9 * kMiB);
  EXPECT_EQ(cache.mapped_bytes(), mapped);
  EXPECT_EQ(cache.Give(smaller), 9 * kMiB) << "what was asked for, not what was there";
}

TEST(BlockCacheTest, NoMoreIsKeptThanWasInUseAtOnce) {
  BlockCache cache;
  std::mt19937 random(1);
  std::vector<void*> blocks;
  size_t in_use = 0, most = 0;
  std::vector<size_t> sizes;
  for (int i = 0; i < 2000; ++i) {
    if (blocks.size() < 10 && random() % 2 == 0) {
      const size_t size = kMiB * (1 + random() % 7) + random() % kMiB;
      blocks.push_back(cache.Take(size));
      ASSERT_NE(blocks.back(), nullptr);
      sizes.push_back(size);
      in_use += size;
      most = std::max(most, in_use);
    } else if (!blocks.empty()) {
      const size_t i = random() % blocks.size();
      EXPECT_EQ(cache.Give(blocks[i]), sizes[i]);
      in_use -= sizes[i];
      blocks.erase(blocks.begin() + static_cast<int64_t>(i));
      sizes.erase(sizes.begin() + static_cast<int64_t>(i));
    }
    // A quarter for what a block is too large, and its pages' ends.
    ASSERT_LE(static_cast<size_t>(cache.mapped_bytes()), most + most / 4 + 10 * 8192) << i;
  }
  for (void* block : blocks) cache.Give(block);
  EXPECT_GT(cache.mapped_bytes(), 0);
  cache.Release();
  EXPECT_EQ(cache.mapped_bytes(), 0);
}

TEST(BlockCacheTest, WhatIsNotOfItIsLeftAlone) {
  BlockCache cache;
  int other = 0;
  EXPECT_EQ(cache.Give(&other), 0u);
}

TEST(BlockCacheTest, WhatTheMachineDoesNotHaveIsNotGiven) {
  BlockCache cache;
  EXPECT_EQ(cache.Take(size_t{1} << 62), nullptr);
  EXPECT_EQ(cache.mapped_bytes(), 0);
}

TEST(BlockCacheTest, ThreadsHaveBlocksOfTheirOwn) {
  BlockCache cache;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&cache, thread] {
      for (int i = 0; i < 50; ++i) {
        auto* const block = static_cast<char*>(cache.Take(kMiB));
        std::memset(block, thread, kMiB);
        for (size_t at = 0; at < kMiB; at += 4096) ASSERT_EQ(block[at], thread);
        EXPECT_EQ(cache.Give(block), kMiB);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace graft
