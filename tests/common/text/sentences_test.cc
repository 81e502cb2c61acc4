#include "common/text/sentences.h"

#include <gmock/gmock.h>

namespace graft {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(SentencesTest, EndAtNewlinesIfThereAreAny) {
  EXPECT_THAT(SplitSentences(" One. Two\r\n\n  Three \n"), ElementsAre("One. Two", "Three"));
}

TEST(SentencesTest, NewlinesAtTheEndsOfTheTextAreNone) {
  EXPECT_THAT(SplitSentences("\nOne. Two.\n"), ElementsAre("One.", "Two."));
}

TEST(SentencesTest, EndAtSignsElse) {
  EXPECT_THAT(
      SplitSentences("He came. She \"left!\" Did it? (Yes.) 3 more... and \u201CNo.\u201D Well"),
      ElementsAre("He came.", "She \"left!\"", "Did it?", "(Yes.)", "3 more... and \u201CNo.\u201D",
                  "Well"));
}

TEST(SentencesTest, DoNotEndAtAbbreviationsAndInitials) {
  EXPECT_THAT(SplitSentences("Mr. J. Smith of the U.S. Army paid 3.5 dollars. No. 7 won."),
              ElementsAre("Mr. J. Smith of the U.S. Army paid 3.5 dollars.", "No. 7 won."));
}

TEST(SentencesTest, OfNothingThereAreNone) {
  EXPECT_THAT(SplitSentences(""), IsEmpty());
  EXPECT_THAT(SplitSentences(" \n \n"), IsEmpty());
  EXPECT_EQ(LeadSentences("", 3), "");
}

TEST(SentencesTest, LeadIsTheFirstOnALineEach) {
  EXPECT_EQ(LeadSentences("A b. C d. E f. G h.", 3), "A b.\nC d.\nE f.");
  EXPECT_EQ(LeadSentences("A b. C d.", 3), "A b.\nC d.");
}

TEST(ExtractiveOracleTest, ChoosesWhatRaisesTheScoreInTheDocumentsOrder) {
  const char* document =
      "The weather was fine. A dog bit the mayor. Nobody laughed. The mayor left town.";
  const std::vector<std::string> target = {"the mayor left town\na dog bit the mayor"};
  EXPECT_EQ(ExtractiveOracle(document, target, 3, {}),
            "A dog bit the mayor.\nThe mayor left town.");
  EXPECT_EQ(ExtractiveOracle(document, target, 1, {}), "A dog bit the mayor.");
  EXPECT_EQ(ExtractiveOracle(document, {"quite other words"}, 3, {}), "");
  EXPECT_EQ(ExtractiveOracle(document, {"nobody laughed", "the weather"}, 3, {}),
            "Nobody laughed.");
  EXPECT_EQ(ExtractiveOracle("", {"x"}, 3, {}), "");
}

}  // namespace
}  // namespace graft
