#include "client/cli/completion.h"

#include "client/cli/program.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class CompletionTest : public ::testing::Test {
 protected:
  CompletionTest() { AddCommands(app_, context_, run_); }

  // What is offered for the last of the words.
  std::vector<std::string> Offered(const std::vector<std::string>& words) {
    std::vector<std::string> offered;
    for (const Suggestion& one :
         Complete(app_, words, [this](NameKind kind) { return Names(kind); }))
      offered.push_back(one.word);
    return offered;
  }

  std::vector<NameKind> asked_;

 private:
  std::vector<Suggestion> Names(NameKind kind) {
    asked_.push_back(kind);
    switch (kind) {
      case NameKind::kJob:
        return {{"jobs/k3f9", "one"}, {"jobs/k3aa", ""}, {"jobs/p2m7", ""}};
      case NameKind::kStudy:
        return {{"studies/s7m2", ""}};
      case NameKind::kDataset:
        return {{"articles", ""}, {"news", ""}};
      case NameKind::kModel:
        return {{"gpt2", ""}};
      case NameKind::kAdapter:
        return {{"news-lora", ""}, {"news-prompt", ""}};
      case NameKind::kContext:
        return {{"lab", ""}};
    }
    return {};
  }

  CLI::App app_;
  CliContext context_;
  RunCommand run_;
};

TEST_F(CompletionTest, CommandsAreThoseOfTheProgram) {
  EXPECT_THAT(Offered({"su"}), ElementsAre("submit"));
  EXPECT_THAT(Offered({"adapters", "d"}), ElementsAre("download", "delete"));
  EXPECT_THAT(Offered({""}), Contains("wait"));
  EXPECT_THAT(Offered({""}), Not(Contains(kCompletionRequest)));
  EXPECT_THAT(asked_, IsEmpty());
}

TEST_F(CompletionTest, FlagsAreThoseOfTheCommandAndOfAll) {
  EXPECT_THAT(Offered({"jobs", "--st"}), ElementsAre("--state", "--study"));
  EXPECT_THAT(Offered({"jobs", "--j"}), ElementsAre("--json"));
  EXPECT_THAT(Offered({"--tim"}), ElementsAre("--timeout"));
  EXPECT_THAT(Offered({"jobs", "--filter", "a", "--li"}), ElementsAre("--limit"));
  EXPECT_THAT(Offered({"jobs", "--", "--li"}), IsEmpty());
}

TEST_F(CompletionTest, ValuesAreThoseThatAFlagTakes) {
  EXPECT_THAT(Offered({"jobs", "--output", "c"}), ElementsAre("csv"));
  EXPECT_THAT(Offered({"jobs", "--output=c"}), ElementsAre("--output=csv"));
  EXPECT_THAT(Offered({"jobs", "--state", "pau"}), ElementsAre("pausing", "paused"));
  EXPECT_THAT(Offered({"completion", ""}), ElementsAre("bash", "zsh", "fish"));
  EXPECT_THAT(Offered({"jobs", "--limit", ""}), IsEmpty());
}

TEST_F(CompletionTest, NamesAreThoseOfTheServer) {
  EXPECT_THAT(Offered({"show", "jobs/k"}), ElementsAre("jobs/k3f9", "jobs/k3aa"));
  EXPECT_THAT(Offered({"show", "k3f"}), ElementsAre("k3f9"));
  EXPECT_THAT(Offered({"show", ""}), ElementsAre("jobs/k3f9", "jobs/k3aa", "jobs/p2m7"));
  EXPECT_THAT(Offered({"context", "use", ""}), ElementsAre("lab"));
  EXPECT_THAT(Offered({"--context", "l"}), ElementsAre("lab"));
  EXPECT_THAT(Offered({"study", "show", "s"}), ElementsAre("studies/s7m2"));
  EXPECT_THAT(Offered({"wait", "jobs/k3f9", "s"}), ElementsAre("studies/s7m2"));
  EXPECT_THAT(Offered({"compare", "jobs/p2m7", "jobs/p"}), ElementsAre("jobs/p2m7"));
  EXPECT_THAT(Offered({"submit", "--train", "a"}), ElementsAre("articles"));
  EXPECT_THAT(Offered({"submit", "--train=n", "--base_model", "g"}), ElementsAre("gpt2"));
  EXPECT_THAT(Offered({"generate", "--adapter", "news-lora,news-p"}),
              ElementsAre("news-lora,news-prompt"));
  EXPECT_THAT(Offered({"generate", "--adapter=news-lora,news-p"}),
              ElementsAre("--adapter=news-lora,news-prompt"));
}

TEST_F(CompletionTest, TheServerIsAskedForNothingElse) {
  Offered({"show", "jobs/k3f9", ""});
  Offered({"submit", "--tr"});
  Offered({"submit", "--name", "n"});
  EXPECT_THAT(Offered({"verify", "x", "--data", "n"}), IsEmpty());  // A file here.
  EXPECT_THAT(asked_, IsEmpty());
  Offered({"adapters", "show", "n"});
  EXPECT_THAT(asked_, ElementsAre(NameKind::kAdapter));
}

TEST_F(CompletionTest, WhatIsTypedMayBeAnything) {
  EXPECT_THAT(Offered({}), IsEmpty());
  EXPECT_THAT(Offered({"--"}), Contains("--server"));
  EXPECT_THAT(Offered({"-"}), Contains("--server"));
  EXPECT_THAT(Offered({"nothing", "--x", "="}), IsEmpty());
  EXPECT_THAT(Offered({"jobs", "--output"}), ElementsAre("--output"));
  EXPECT_THAT(Offered({"jobs", "--output="}),
              ElementsAre("--output=table", "--output=json", "--output=csv", "--output=markdown"));
}

}  // namespace
}  // namespace graft
