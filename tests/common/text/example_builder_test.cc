#include "common/text/example_builder.h"

#include <gmock/gmock.h>

#include "tests/common/text/test_files.h"

namespace graft {
namespace {

using testing::HasSubstr;
using Ids = std::vector<int32_t>;

const BpeTokenizer& Tokenizer() {
  static const BpeTokenizer* const tokenizer =
      new BpeTokenizer(*BpeTokenizer::Load(GoldenPath("bpe")));
  return *tokenizer;
}

Ids Encode(const std::string& text) { return *Tokenizer().Encode(text); }

Ids Join(const std::vector<Ids>& parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

ExampleBuilder MakeBuilder(const ExampleOptions& options) {
  absl::StatusOr<ExampleBuilder> builder = ExampleBuilder::Create(Tokenizer(), options);
  if (!builder.ok()) ADD_FAILURE() << builder.status();
  return *std::move(builder);
}

TokenExample Build(const ExampleOptions& options, const std::string& source,
                   const std::string& target) {
  TokenExample example;
  const absl::Status status = MakeBuilder(options).Build(source, target, &example);
  EXPECT_TRUE(status.ok()) << status;
  return example;
}

// Forty different words, so that what is cut can be told.
std::string LongText() {
  std::string text = "w0";
  for (int i = 1; i < 40; ++i) absl::StrAppend(&text, " w", i);
  return text;
}

TEST(ExampleBuilderTest, EncodesThePartsApartAndJoinsThem) {
  const ExampleOptions options = {"Read: {source}\nTL;DR:", 512, 128, 1024};
  const TokenExample example = Build(options, "the cat sat", "a cat");
  EXPECT_EQ(example.ids, Join({Encode("Read: "),
                               Encode("the cat sat"),
                               Encode("\nTL;DR:"),
                               Encode(" a cat"),
                               {Tokenizer().end_of_text_id()}}));
  EXPECT_EQ(example.num_prompt_tokens,
            static_cast<int64_t>(
                Join({Encode("Read: "), Encode("the cat sat"), Encode("\nTL;DR:")}).size()));
  EXPECT_EQ(example.source_tokens_cut, 0);
  EXPECT_EQ(example.target_tokens_cut, 0);
}

TEST(ExampleBuilderTest, SourceIsCutFromItsEndAndTheTemplateStaysWhole) {
  const Ids source = Encode(LongText());
  const Ids suffix = Encode("\nTL;DR:");
  const ExampleOptions options = {"{source}\nTL;DR:", 20, 128, 1024};
  const TokenExample example = Build(options, LongText(), "x");
  EXPECT_EQ(example.num_prompt_tokens, 20);
  const Ids kept(source.begin(), source.begin() + (20 - static_cast<int64_t>(suffix.size())));
  EXPECT_EQ(Ids(example.ids.begin(), example.ids.begin() + 20), Join({kept, suffix}));
  EXPECT_EQ(example.source_tokens_cut, static_cast<int64_t>(source.size() - kept.size()));
}

TEST(ExampleBuilderTest, TargetIsCutAndKeepsItsEndOfText) {
  const Ids target = Encode(absl::StrCat(" ", LongText()));
  const ExampleOptions options = {"{source}:", 512, 10, 1024};
  const TokenExample example = Build(options, "s", LongText());
  const Ids labels(example.ids.begin() + example.num_prompt_tokens, example.ids.end());
  EXPECT_EQ(labels,
            Join({Ids(target.begin(), target.begin() + 9), {Tokenizer().end_of_text_id()}}));
  EXPECT_EQ(example.target_tokens_cut, static_cast<int64_t>(target.size()) - 9);
}

TEST(ExampleBuilderTest, ATargetThatJustFitsIsNotCut) {
  const int64_t tokens = static_cast<int64_t>(Encode(absl::StrCat(" ", LongText())).size()) + 1;
  EXPECT_EQ(Build({"{source}:", 512, tokens, 1024}, "s", LongText()).target_tokens_cut, 0);
  EXPECT_EQ(Build({"{source}:", 512, tokens - 1, 1024}, "s", LongText()).target_tokens_cut, 1);
}

TEST(ExampleBuilderTest, WhatDoesNotFitTheModelIsTakenFromTheSource) {
  const ExampleOptions options = {"{source}\nTL;DR:", 512, 128, 150};
  const TokenExample example = Build(options, LongText() + LongText(), LongText());
  EXPECT_EQ(example.ids.size(), 150u);
  EXPECT_GT(example.source_tokens_cut, 0);
  EXPECT_EQ(example.target_tokens_cut, 0);
  const TokenExample short_target = Build(options, "s", "t");
  EXPECT_EQ(short_target.source_tokens_cut, 0);
}

TEST(ExampleBuilderTest, PromptIsCutToWhatIsLeftForIt) {
  const ExampleBuilder builder = MakeBuilder({"{source}\nTL;DR:", 100, 20, 200});
  const absl::StatusOr<TokenPrompt> prompt = builder.BuildPrompt(LongText(), 30);
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->ids.size(), 30u);
  EXPECT_EQ(prompt->source_tokens_cut,
            static_cast<int64_t>(Join({Encode(LongText()), Encode("\nTL;DR:")}).size()) - 30);
  EXPECT_EQ(builder.BuildPrompt(LongText(), 500)->ids.size(), 100u);
  const absl::Status none = builder.BuildPrompt("s", builder.template_tokens()).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
}

TEST(ExampleBuilderTest, RefusesATemplateWithoutExactlyOnePlaceholder) {
  for (const char* bad : {"TL;DR:", "{source} {source}", "", "{Source}"}) {
    const absl::Status status = ExampleBuilder::Create(Tokenizer(), {bad, 512, 128, 1024}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("data.prompt_template"));
  }
}

TEST(ExampleBuilderTest, RefusesLimitsThatCannotFitAndNamesThem) {
  const auto message = [](const ExampleOptions& options) {
    return std::string(ExampleBuilder::Create(Tokenizer(), options).status().message());
  };
  const int64_t suffix = static_cast<int64_t>(Encode("\nTL;DR:").size());
  EXPECT_THAT(message({"{source}\nTL;DR:", suffix, 128, 1024}), HasSubstr("max_source_tokens"));
  EXPECT_EQ(message({"{source}\nTL;DR:", suffix + 1, 128, 1024}), "");
  EXPECT_THAT(message({"{source}\nTL;DR:", 512, 0, 1024}), HasSubstr("max_target_tokens"));
  EXPECT_THAT(message({"{source}\nTL;DR:", 512, 128, 128}), HasSubstr("max_target_tokens"));
}

TEST(ExampleBuilderTest, RefusesTextThatIsNotUtf8) {
  TokenExample example;
  EXPECT_EQ(MakeBuilder({}).Build("a\xff", "b", &example).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeBuilder({}).Build("a", "\xc3", &example).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace graft
