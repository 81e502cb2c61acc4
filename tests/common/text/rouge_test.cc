#include "common/text/rouge.h"

#include <gmock/gmock.h>

#include "absl/strings/str_join.h"
#include "tests/common/text/test_files.h"

namespace graft {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;

RougeScores Score(const std::string& target, const std::string& prediction, bool stemmer = false) {
  return ScoreRouge(absl::string_view(target), prediction, {.use_stemmer = stemmer});
}

std::vector<double> Values(const RougeScore& score) {
  return {score.precision, score.recall, score.f};
}

std::vector<std::vector<double>> Values(const RougeScores& scores) {
  return {Values(scores.rouge1), Values(scores.rouge2), Values(scores.rouge_l),
          Values(scores.rouge_lsum)};
}

TEST(RougeTest, BitsEqualThoseOfRougeScore) {
  const Json rows = ReadJson(GoldenPath("rouge/scores.json"));
  ASSERT_GT(rows.size(), 50u);
  for (const Json& row : rows) {
    const auto targets = row["targets"].get<std::vector<std::string>>();
    const auto prediction = row["prediction"].get<std::string>();
    using Table = std::vector<std::vector<double>>;
    EXPECT_EQ(Values(ScoreRouge(targets, prediction, {.use_stemmer = false})),
              row["plain"].get<Table>())
        << row;
    EXPECT_EQ(Values(ScoreRouge(targets, prediction, {.use_stemmer = true})),
              row["stemmed"].get<Table>())
        << row;
  }
}

TEST(RougeTest, NgramScoresAreThoseOfTheWholeScore) {
  const Json rows = ReadJson(GoldenPath("rouge/scores.json"));
  for (const Json& row : rows) {
    const auto target = row["targets"][0].get<std::string>();
    const auto prediction = row["prediction"].get<std::string>();
    const RougeScores all = Score(target, prediction, true);
    const RougeNgramScores ngrams = ScoreRougeNgrams(target, prediction, {.use_stemmer = true});
    EXPECT_EQ(Values(ngrams.rouge1), Values(all.rouge1));
    EXPECT_EQ(Values(ngrams.rouge2), Values(all.rouge2));
  }
}

TEST(RougeTest, TokensAreLowerCasedByUnicode) {
  const RougeOptions plain;
  EXPECT_THAT(RougeTokens("The 3,000 na\xC3\xAFve \xE2\x84\xAA"
                          "elvin \xC4\xB0stanbul's",
                          plain),
              ElementsAre("the", "3", "000", "na", "ve", "kelvin", "i", "stanbul", "s"));
  EXPECT_THAT(RougeTokens("a\xFF\xE2\x84z", plain), ElementsAre("a", "z"));
}

TEST(RougeTest, OnlyTokensOfMoreThanThreeCharactersAreStemmed) {
  EXPECT_THAT(RougeTokens("has runs", {.use_stemmer = true}), ElementsAre("has", "run"));
}

TEST(RougeTest, NewlinesMatterToLsumOnly) {
  const RougeScores lines = Score("a b\nc d", "c d\na b");
  const RougeScores one_line = Score("a b c d", "c d a b");
  EXPECT_EQ(lines.rouge_lsum.f, 1);
  EXPECT_EQ(lines.rouge_l.f, 0.5);
  EXPECT_EQ(one_line.rouge_lsum.f, 0.5);
}

TEST(RougeTest, OfSeveralReferencesTheBestCountsForEachType) {
  const std::vector<std::string> targets = {"x y z", "c b a", "a b"};
  const RougeScores best = ScoreRouge(targets, "a b c", {});
  EXPECT_EQ(best.rouge1.f, 1);                                             // of "c b a"
  EXPECT_EQ(Values(best.rouge_l), (std::vector<double>{2 / 3., 1, 0.8}));  // of "a b"
  EXPECT_EQ(ScoreRouge(absl::Span<const std::string>(), "a", {}).rouge1.f, 0);
}

std::vector<double> RecallPrecisionF(const RougeScore& score) {
  return {score.recall, score.precision, score.f};
}

void ExpectScores(const Json& expected, const RougeScores& scores, double tolerance) {
  const std::pair<const char*, const RougeScore*> types[] = {{"rouge1", &scores.rouge1},
                                                             {"rouge2", &scores.rouge2},
                                                             {"rougeL", &scores.rouge_l},
                                                             {"rougeLsum", &scores.rouge_lsum}};
  for (const auto& [name, score] : types) {
    if (!expected.contains(name)) continue;
    const std::vector<double> values = RecallPrecisionF(*score);
    for (int i = 0; i < 3; ++i) EXPECT_NEAR(values[i], expected[name][i].get<double>(), tolerance);
  }
}

TEST(RougeRealDataTest, PassesTheCasesOfGooglesOwnTests) {
  const std::string path = SharedDataPath("rouge/google_rouge_score_cases.json");
  SKIP_WITHOUT(path);
  const Json cases = ReadJson(path);
  for (const Json& c : cases["simple_cases"]) {
    ExpectScores(c, Score(c["target"], c["prediction"]), 1e-9);
  }
  for (const Json& c : cases["rouge155_cases"]) {
    ExpectScores(c["nostem"], Score(c["target"], c["prediction"], false), 1e-5);
    ExpectScores(c["stem"], Score(c["target"], c["prediction"], true), 1e-5);
  }
}

// ROUGE-1.5.5 reads tokens a little differently; the averages over 1,600 pairs are close all the
// same.
TEST(RougeRealDataTest, AveragesAreCloseToThoseOfTheOriginalRouge) {
  const std::string path = SharedDataPath("rouge/rouge155_summeval_1600.jsonl");
  SKIP_WITHOUT(path);
  std::istringstream lines(ReadWhole(path));
  double ours[2] = {0, 0};
  double theirs[2] = {0, 0};
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json row = Json::parse(line);
    const auto text = [&](const char* name) {
      return absl::StrJoin(row[name].get<std::vector<std::string>>(), "\n");
    };
    const RougeScores scores = Score(text("ref"), text("hyp"), true);
    ours[0] += scores.rouge1.f;
    ours[1] += scores.rouge_lsum.f;
    theirs[0] += row["porter"]["rouge1"][2].get<double>();
    theirs[1] += row["porter"]["rougel"][2].get<double>();
  }
  ASSERT_EQ(count, 1600);
  EXPECT_NEAR(ours[0] / count, theirs[0] / count, 2e-3);
  EXPECT_NEAR(ours[1] / count, theirs[1] / count, 2e-3);
}

}  // namespace
}  // namespace graft
