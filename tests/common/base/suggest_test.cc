#include "common/base/suggest.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

const std::vector<std::string> kCommands = {"submit", "eval",   "jobs",     "show",   "watch",
                                            "logs",   "cancel", "adapters", "models", "datasets"};
const std::vector<std::string> kFlags = {"--base-model",
                                         "--batch-size",
                                         "--rank",
                                         "--learning-rate",
                                         "--max-steps",
                                         "--epochs",
                                         "--gradient-accumulation-steps"};

TEST(SuggestTest, FewWrongLettersAreNear) {
  EXPECT_EQ(Nearest("sumbit", kCommands), "submit");
  EXPECT_EQ(Nearest("shw", kCommands), "show");
  EXPECT_EQ(Nearest("shwo", kCommands), "show");
  EXPECT_EQ(Nearest("adapter", kCommands), "adapters");
  EXPECT_EQ(Nearest("job", kCommands), "jobs");
  EXPECT_EQ(Nearest("--bach-size", kFlags), "--batch-size");
  EXPECT_EQ(Nearest("--ranks", kFlags), "--rank");
}

TEST(SuggestTest, DashesUnderscoresAndCaseAreNoMistakes) {
  EXPECT_EQ(Nearest("--Batch_Size", kFlags), "--batch-size");
  EXPECT_EQ(Nearest("-batch-size", kFlags), "--batch-size");
  EXPECT_EQ(Nearest("softprompt", {"lora", "soft_prompt"}), "soft_prompt");
}

TEST(SuggestTest, PartsAndInitialsAreNearEnough) {
  EXPECT_EQ(Nearest("--gradient-accumulation", kFlags), "--gradient-accumulation-steps");
  EXPECT_EQ(Nearest("--model", kFlags), "--base-model");
  EXPECT_EQ(Nearest("--steps", kFlags), "--max-steps");
  EXPECT_EQ(Nearest("--lr", kFlags), "--learning-rate");
  // The nearest kind wins, whatever comes first.
  EXPECT_EQ(Nearest("steps", {"max-steps", "stops"}), "stops");
}

TEST(SuggestTest, WhatIsFarIsNotSuggested) {
  EXPECT_EQ(Nearest("frobnicate", kCommands), "");
  EXPECT_EQ(Nearest("x", kCommands), "");
  EXPECT_EQ(Nearest("", kCommands), "");
  EXPECT_EQ(DidYouMean("frobnicate", kCommands), "");
  EXPECT_EQ(DidYouMean("wacth", kCommands), "; did you mean watch?");
}

}  // namespace
}  // namespace graft
