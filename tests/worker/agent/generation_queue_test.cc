#include "worker/agent/generation_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace graft {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

GenerationQueue::Text Text(const std::string& batch, int row) {
  GenerationQueue::Text text;
  text.set_id(batch);
  text.set_row(row);
  return text;
}
bool Any(const GenerationQueue::Text&) { return true; }

class GenerationQueueTest : public testing::Test {
 protected:
  void Push(const std::string& batch, int row) { ASSERT_TRUE(queue_.Push(Text(batch, row)).ok()); }
  GenerationQueue queue_;
};

TEST_F(GenerationQueueTest, ABatchHasOneServer) {
  Push("a", 0);
  Push("a", 1);
  Push("b", 0);
  EXPECT_EQ(queue_.Begin(Any)->id(), "a");
  EXPECT_EQ(queue_.Begin(Any)->id(), "b");
  EXPECT_FALSE(queue_.Begin(Any).has_value());
  EXPECT_EQ(queue_.Next("a")->row(), 1);
  EXPECT_THAT(queue_.UnderWay("a"), ElementsAre(0, 1));
}

TEST_F(GenerationQueueTest, OnlyWhatIsWantedIsBegun) {
  Push("a", 0);
  Push("b", 0);
  EXPECT_EQ(queue_.Begin([](const auto& text) { return text.id() == "b"; })->id(), "b");
}

TEST_F(GenerationQueueTest, ABatchIsOverWhenNothingOfItWaitsOrIsMade) {
  for (const int row : {0, 1, 2}) Push("a", row);
  queue_.Begin(Any);
  queue_.Next("a");
  EXPECT_FALSE(queue_.Done("a", 0));
  EXPECT_FALSE(queue_.Done("a", 1)) << "one waits";
  queue_.Next("a");
  EXPECT_TRUE(queue_.Done("a", 2));
  EXPECT_FALSE(queue_.Next("a").has_value());
  Push("a", 3);
  EXPECT_FALSE(queue_.Begin(Any).has_value()) << "its batch has ended";
}

TEST_F(GenerationQueueTest, WhoWaitsForTheNextTextGetsItOrTheEnd) {
  Push("a", 0);
  queue_.Begin(Any);
  std::vector<int> rows;
  std::thread feeder([&] {
    while (const auto text = queue_.Next("a")) rows.push_back(text->row());
  });
  Push("a", 1);
  while (queue_.UnderWay("a").size() < 2) std::this_thread::yield();
  queue_.End("a");
  feeder.join();
  EXPECT_THAT(rows, ElementsAre(1));
  EXPECT_THAT(queue_.UnderWay("a"), IsEmpty());
}

TEST_F(GenerationQueueTest, WhatIsRemovedIsNotServed) {
  Push("a", 0);
  Push("a", 1);
  EXPECT_TRUE(queue_.Remove("a", 0));
  EXPECT_FALSE(queue_.Remove("a", 0));
  EXPECT_EQ(queue_.Begin(Any)->row(), 1);
  EXPECT_FALSE(queue_.Remove("a", 1)) << "it is being made";
}

TEST_F(GenerationQueueTest, TooManyAreRefused) {
  for (size_t row = 0; row < GenerationQueue::kMaxWaiting; ++row) {
    Push("a", static_cast<int>(row));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(queue_.Push(Text("b", 0))));
}

}  // namespace
}  // namespace graft
