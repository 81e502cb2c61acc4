#include "common/text/prompt_template.h"

#include <gmock/gmock.h>

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

PromptTemplate Parsed(absl::string_view text, TemplateSyntax syntax = TemplateSyntax::kFields) {
  absl::StatusOr<PromptTemplate> parsed = PromptTemplate::Parse(text, syntax);
  if (!parsed.ok()) ADD_FAILURE() << text << ": " << parsed.status();
  return *std::move(parsed);
}

std::string ErrorOf(absl::string_view text, TemplateSyntax syntax = TemplateSyntax::kFields) {
  const absl::Status status = PromptTemplate::Parse(text, syntax).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(status.message());
}

TEST(PromptTemplateTest, FieldsStandBeforeTheSourceAndBehindIt) {
  const PromptTemplate parsed = Parsed("{title} ({year}): {source}\n{title}?");
  EXPECT_THAT(parsed.fields(), ElementsAre("title", "year"));
  EXPECT_EQ(parsed.Before({"On cats", "1999"}), "On cats (1999): ");
  EXPECT_EQ(parsed.After({"On cats", "1999"}), "\nOn cats?");
}

TEST(PromptTemplateTest, AValueIsNoTemplate) {
  const PromptTemplate parsed = Parsed("{a}{b}{source}");
  EXPECT_EQ(parsed.Before({"{b}{{", "{source}"}), "{b}{{{source}");
}

TEST(PromptTemplateTest, DoubledBracesAreBraces) {
  const PromptTemplate parsed = Parsed("{{{source}}} {{x}} }}{{");
  EXPECT_THAT(parsed.fields(), IsEmpty());
  EXPECT_EQ(parsed.Before({}), "{");
  EXPECT_EQ(parsed.After({}), "} {x} }{");
}

TEST(PromptTemplateTest, WithoutOtherBracesBothSyntaxesSayTheSame) {
  for (const TemplateSyntax syntax : {TemplateSyntax::kLiteral, TemplateSyntax::kFields}) {
    const PromptTemplate parsed = Parsed("Read: {source}\nTL;DR:", syntax);
    EXPECT_EQ(parsed.Before({}), "Read: ");
    EXPECT_EQ(parsed.After({}), "\nTL;DR:");
  }
}

TEST(PromptTemplateTest, LiteralBracesAreText) {
  const PromptTemplate parsed = Parsed("{x} {{ {source} }", TemplateSyntax::kLiteral);
  EXPECT_THAT(parsed.fields(), IsEmpty());
  EXPECT_EQ(parsed.Before({}), "{x} {{ ");
  EXPECT_EQ(parsed.After({}), " }");
}

TEST(PromptTemplateTest, TheSourceStandsThereOnce) {
  for (const TemplateSyntax syntax : {TemplateSyntax::kLiteral, TemplateSyntax::kFields}) {
    for (const char* bad : {"", "TL;DR:", "{source} {source}"}) {
      EXPECT_THAT(ErrorOf(bad, syntax), HasSubstr("must contain {source} exactly once")) << bad;
    }
  }
  EXPECT_THAT(ErrorOf("{{source}}"), HasSubstr("must contain {source} exactly once"));
}

TEST(PromptTemplateTest, ABraceThatBelongsToNothingIsToldByItsPlace) {
  EXPECT_EQ(ErrorOf("{source} {"),
            "has a { that begins no field at byte 10; {name} is a field of the row, and braces are "
            "written {{ and }}");
  EXPECT_THAT(ErrorOf("{a{source}"), HasSubstr("a { that begins no field at byte 1;"));
  EXPECT_THAT(ErrorOf("a} {source}"), HasSubstr("a } that ends no field at byte 2;"));
  EXPECT_THAT(ErrorOf("{source}}"), HasSubstr("a } that ends no field at byte 9;"));
  EXPECT_THAT(ErrorOf("{source}{}"), HasSubstr("a field without a name at byte 9;"));
}

TEST(PromptTemplateTest, ValuesComeByName) {
  const PromptTemplate parsed = Parsed("{b}{a}{source}");
  EXPECT_THAT(*parsed.ValuesOf({{"a", "1"}, {"b", "2"}}), ElementsAre("2", "1"));
  EXPECT_EQ(parsed.ValuesOf({{"a", "1"}}).status().message(),
            "lacks \"b\"; the prompt template puts in b, a");
  EXPECT_EQ(parsed.ValuesOf({{"a", "1"}, {"b", "2"}, {"c", "3"}}).status().message(),
            "has \"c\", which the prompt template does not put in; its fields are: b, a");
  EXPECT_THAT(std::string(Parsed("{source}").ValuesOf({{"a", ""}}).status().message()),
              HasSubstr("its fields are: none"));
}

TEST(PromptTemplateTest, OfABadTemplateThereAreNoFields) {
  EXPECT_THAT(TemplateFields("{a}{source}", TemplateSyntax::kFields), ElementsAre("a"));
  EXPECT_THAT(TemplateFields("{a}", TemplateSyntax::kFields), IsEmpty());
}

}  // namespace
}  // namespace graft
