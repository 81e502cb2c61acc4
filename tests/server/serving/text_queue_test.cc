#include "server/serving/text_queue.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using worker::v1::Command;

class TextQueueTest : public ::testing::Test {
 protected:
  // A text that is told by its prompt.
  Text& Asked(const std::string& prompt, const std::string& adapter,
              const std::string& base = "base", bool log_probabilities = false) {
    Command::Generate command;
    command.mutable_base_model()->set_sha256(base);
    command.mutable_request()->set_adapter(adapter);
    command.mutable_request()->set_prompt(prompt);
    command.mutable_request()->set_log_probabilities(log_probabilities);
    calls_.push_back(std::make_unique<TextCall>(
        std::vector{command}, std::make_shared<StreamWaker>([] {}), absl::ZeroDuration()));
    return calls_.back()->texts().front();
  }
  std::string Take(const std::string& base = "base", bool batching = true) {
    const Text* const text = queue_.Take(base, batching);
    return text == nullptr ? "" : text->command->request().prompt();
  }

  std::vector<std::unique_ptr<TextCall>> calls_;
  TextQueue queue_;
};

TEST_F(TextQueueTest, AdaptersTakeTurnsAndEachIsServedInItsOrder) {
  for (const char* prompt : {"a1", "a2", "a3"}) queue_.Push(Asked(prompt, "a"));
  for (const char* prompt : {"b1", "b2"}) queue_.Push(Asked(prompt, "b"));
  EXPECT_EQ(Take(), "a1");
  queue_.Push(Asked("c1", ""));
  EXPECT_EQ(Take(), "b1");
  EXPECT_EQ(Take(), "a2");
  EXPECT_EQ(Take(), "c1");
  EXPECT_EQ(Take(), "b2");
  EXPECT_EQ(Take(), "a3");
  EXPECT_EQ(Take(), "");
  EXPECT_EQ(queue_.size(), 0u);
}

TEST_F(TextQueueTest, WhatIsPutBackIsTheNext) {
  queue_.Push(Asked("a1", "a"));
  queue_.Push(Asked("b1", "b"));
  Text* const first = queue_.Take("base", true);
  Text* const second = queue_.Take("base", true);
  queue_.Push(Asked("a2", "a"));
  queue_.PushFront(*second);
  queue_.PushFront(*first);
  EXPECT_EQ(Take(), "a1");
  EXPECT_EQ(Take(), "b1");
  EXPECT_EQ(Take(), "a2");
}

TEST_F(TextQueueTest, OnlyWhatThePlaceCanMakeIsTaken) {
  queue_.Push(Asked("more", "a", "base", /*log_probabilities=*/true));
  queue_.Push(Asked("simple", "a"));
  queue_.Push(Asked("elsewhere", "a", "other"));
  EXPECT_THAT(queue_.Kinds(),
              ElementsAre(TextQueue::Kind{"base", true}, TextQueue::Kind{"base", false},
                          TextQueue::Kind{"other", false}));
  EXPECT_EQ(Take("base", /*batching=*/false), "simple");
  EXPECT_EQ(Take("base", /*batching=*/false), "");
  EXPECT_EQ(Take("base", /*batching=*/true), "more");
  EXPECT_EQ(Take("other", /*batching=*/false), "elsewhere");
}

TEST_F(TextQueueTest, ARemovedTextIsNotThere) {
  Text& gone = Asked("gone", "a");
  queue_.Push(gone);
  queue_.Push(Asked("stays", "a"));
  queue_.Remove(gone);
  queue_.Remove(gone);
  EXPECT_EQ(queue_.size(), 1u);
  EXPECT_EQ(queue_.texts().size(), 1u);
  EXPECT_EQ(Take(), "stays");
}

}  // namespace
}  // namespace graft
