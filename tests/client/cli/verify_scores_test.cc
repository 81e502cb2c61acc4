#include "client/cli/verify_scores.h"

#include <gmock/gmock.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/text/rouge_table.h"
#include "common/text/samples_hash.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Two rows as an evaluate job stores them, with lead-3 and the oracle.
class VerifyScoresTest : public ::testing::Test {
 protected:
  VerifyScoresTest() {
    RougeTable table, lead3, oracle;
    SamplesHash hash;
    std::map<std::string, double> metrics = {{"eval/loss", 1.5}};
    for (const auto& [reference, prediction] :
         {std::pair<std::string, std::string>{"the cats sat", "a cat sat"},
          {"dogs ran away", "dogs ran"}}) {
      const std::string source = "Cats sat. Dogs ran. It rained. Nobody came.";
      Json row = {{"source", source}, {"references", {reference}}, {"prediction", prediction}};
      AddScores(row, reference, prediction, table);
      Json baseline = {{"prediction", "Cats sat.\nDogs ran.\nIt rained."}};
      AddScores(baseline, reference, baseline["prediction"], lead3);
      row["lead3"] = baseline;
      baseline = {{"prediction", reference == "dogs ran away" ? "Dogs ran." : "Cats sat."}};
      AddScores(baseline, reference, baseline["prediction"], oracle);
      row["oracle"] = baseline;
      rows_.push_back(row);
      hash.Add({reference});
    }
    table.Summarise("eval/", &metrics);
    lead3.Summarise("lead3/", &metrics);
    oracle.Summarise("oracle/", &metrics);
    results_ = {{"num_samples", 2},
                {"metrics", metrics},
                {"fingerprint", {{"use_stemmer", true}, {"samples_sha256", hash.Hex()}}}};
  }
  static void AddScores(Json& row, const std::string& reference, const std::string& prediction,
                        RougeTable& table) {
    const RougeScores scores = ScoreRouge(reference, prediction, {true});
    table.Add(scores);
    for (const RougeType& type : kRougeTypes) {
      const RougeScore& score = scores.*type.scores;
      row[type.name] = {{"precision", score.precision}, {"recall", score.recall}, {"f", score.f}};
    }
  }
  absl::StatusOr<RecomputedScores> Recompute() {
    std::string text;
    for (const Json& row : rows_) absl::StrAppend(&text, row.dump(), "\n");
    const std::string path = directory_.Path("predictions.jsonl");
    EXPECT_TRUE(WriteFileAtomically(path, text).ok());
    return RecomputeScores(path, results_);
  }
  std::vector<std::string> Differences() {
    const auto scores = Recompute();
    EXPECT_TRUE(scores.ok()) << scores.status();
    std::vector<std::string> names;
    for (const auto& [what, expected, found] : *scores) {
      if (expected != found) names.push_back(what);
    }
    return names;
  }

  const TempDir directory_;
  std::vector<Json> rows_;
  Json results_;
};

TEST_F(VerifyScoresTest, UntouchedResultsFollowFromTheirPredictions) {
  EXPECT_THAT(Differences(), ElementsAre());
  // The rows, the hash, three tables of rows, two baselines' texts, and 20 numbers of each table.
  EXPECT_EQ(Recompute()->size(), 1u + 1 + 3 + 2 + 60);
}

TEST_F(VerifyScoresTest, AScoreOfARowThatIsNotItsTextsIsFound) {
  rows_[1]["rougeL"]["f"] = 0.9;
  EXPECT_THAT(Differences(), ElementsAre("scores of the rows, eval/"));
}

TEST_F(VerifyScoresTest, AMeanThatIsNotThatOfTheRowsIsFound) {
  results_["metrics"]["eval/rougeLsum_low"] = 0.1;
  EXPECT_THAT(Differences(), ElementsAre("eval/rougeLsum_low"));
}

TEST_F(VerifyScoresTest, AMetricThatIsLackingOrMadeUpIsFound) {
  results_["metrics"].erase("lead3/rouge2");
  results_["metrics"]["untuned/rouge1"] = 0.5;
  EXPECT_THAT(Differences(), ElementsAre("lead3/rouge2", "untuned/rouge1"));
}

TEST_F(VerifyScoresTest, AnotherOracleIsFound) {
  rows_[1]["oracle"]["prediction"] = "Nobody came.";
  EXPECT_THAT(Differences(), testing::Contains("extractive oracle of the sources"));
}

TEST_F(VerifyScoresTest, AnotherReferenceOrLeadIsFound) {
  rows_[0]["lead3"]["prediction"] = "Cats sat.\nDogs ran.";
  EXPECT_THAT(Differences(), testing::Contains("first three sentences of the sources"));
  rows_[0]["references"][0] = "the cats sat ";
  EXPECT_THAT(Differences(), testing::Contains("hash of the references"));
}

TEST_F(VerifyScoresTest, ALostRowIsFound) {
  rows_.pop_back();
  EXPECT_THAT(Differences(), testing::Contains("number of predictions"));
}

TEST_F(VerifyScoresTest, AStemmerThatWasNotUsedGivesOtherScores) {
  results_["fingerprint"]["use_stemmer"] = false;
  EXPECT_THAT(Differences(), testing::Contains("eval/rouge1"));
}

TEST_F(VerifyScoresTest, ALineThatIsNoRowIsNamed) {
  rows_[1] = {{"prediction", "x"}};
  const auto scores = Recompute();
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(scores.status().message()), HasSubstr("line 2"));
}

}  // namespace
}  // namespace graft
