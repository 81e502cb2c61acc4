#include "client/cli/compare.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

ComparedJob Evaluation(const std::string& label, const std::string& samples) {
  ComparedJob compared;
  compared.label = label;
  (*compared.job.mutable_result()->mutable_metrics())["eval/rougeLsum"] = 0.5;
  compared.job.mutable_result()->mutable_fingerprint()->set_samples_sha256(samples);
  return compared;
}

TEST(CompareTest, ReadsTheScoreOfEachRow) {
  const TempDir directory;
  const std::string path = directory.Path("predictions.jsonl");
  ASSERT_TRUE(WriteFileAtomically(path,
                                  "{\"index\": 0, \"rougeLsum\": {\"f\": 0.25}}\n"
                                  "{\"index\": 2, \"rougeLsum\": {\"f\": 0.5}}\n")
                  .ok());
  const auto scores = ReadScores(path, "rougeLsum");
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(*scores, (std::map<int64_t, double>{{0, 0.25}, {2, 0.5}}));
  EXPECT_THAT(std::string(ReadScores(path, "rouge9").status().message()), HasSubstr("line 1"));
}

TEST(CompareTest, ALineThatIsNoScoredRowIsNamed) {
  const TempDir directory;
  const std::string path = directory.Path("predictions.jsonl");
  const char* const lines[] = {"no JSON", "[1]", R"({"index": "0", "rougeLsum": {"f": 0.25}})",
                               R"({"index": 0, "rougeLsum": {"f": "0.25"}})",
                               R"({"index": 0, "rougeLsum": 0.25})"};
  for (const char* line : lines) {
    ASSERT_TRUE(WriteFileAtomically(path, absl::StrCat(line, "\n")).ok());
    EXPECT_EQ(ReadScores(path, "rougeLsum").status().code(), absl::StatusCode::kInvalidArgument)
        << line;
  }
}

std::string Text(const std::vector<ComparedJob>& jobs,
                 const std::vector<std::map<int64_t, double>>& scores) {
  const auto differences = PairedDifferences(jobs, scores);
  EXPECT_TRUE(differences.ok()) << differences.status();
  return DifferencesText(*differences, "rougeLsum");
}

TEST(CompareTest, DifferencesArePairedByRow) {
  const std::vector<ComparedJob> jobs = {Evaluation("base", "x"), Evaluation("tuned", "x")};
  EXPECT_EQ(Text(jobs, {{{0, 0.1}, {1, 0.9}, {2, 0.3}}, {{0, 0.2}, {1, 1.0}}}),
            "tuned - base: rougeLsum +0.100, 95 % interval +0.100 to +0.100 (2 rows)\n");
  EXPECT_THAT(Text(jobs, {{{0, 0.1}}, {{1, 0.2}}}), HasSubstr("no row was scored by both"));
}

TEST(CompareTest, DifferentReferencesAreNotCompared) {
  const std::vector<ComparedJob> jobs = {Evaluation("base", "x"), Evaluation("tuned", "y")};
  EXPECT_EQ(Text(jobs, {{{0, 0.1}}, {{0, 0.2}}}),
            "tuned - base: not comparable, they scored different references\n");
}

TEST(CompareTest, ScoresOfAnotherRougeAreNotCompared) {
  std::vector<ComparedJob> jobs = {Evaluation("base", "x"), Evaluation("tuned", "x")};
  v1::ScoringFingerprint& fingerprint = *jobs[1].job.mutable_result()->mutable_fingerprint();
  fingerprint.set_use_stemmer(true);
  EXPECT_EQ(Text(jobs, {{{0, 0.1}}, {{0, 0.2}}}),
            "tuned - base: not comparable, use_stemmer is true, not false\n");
  fingerprint.set_sentence_splitter("newline");
  EXPECT_THAT(Text(jobs, {{{0, 0.1}}, {{0, 0.2}}}),
              HasSubstr("; sentence_splitter is \"newline\", not \"\""));
}

TEST(CompareTest, AnotherDecodingIsComparedAndNoted) {
  std::vector<ComparedJob> jobs = {Evaluation("base", "x"), Evaluation("tuned", "x")};
  jobs[1].job.mutable_result()->mutable_fingerprint()->set_decoding("greedy");
  EXPECT_THAT(Text(jobs, {{{0, 0.1}}, {{0, 0.2}}}),
              HasSubstr("+0.100 (1 rows; decoding is \"greedy\", not \"\")"));
}

TEST(CompareTest, AnotherPrecisionIsNotedWhereBothTellTheirs) {
  std::vector<ComparedJob> jobs = {Evaluation("base", "x"), Evaluation("tuned", "x")};
  jobs[1].job.mutable_result()->mutable_fingerprint()->set_precision("bf16");
  EXPECT_THAT(Text(jobs, {{{0, 0.1}}, {{0, 0.2}}}), HasSubstr("(1 rows)"));
  jobs[0].job.mutable_result()->mutable_fingerprint()->set_precision("fp32");
  EXPECT_THAT(Text(jobs, {{{0, 0.1}}, {{0, 0.2}}}),
              HasSubstr("(1 rows; precision is \"bf16\", not \"fp32\")"));
}

TEST(CompareTest, TheTableHasTrainingFiguresAndBaselines) {
  v1::Job training;
  training.mutable_result()->set_trainable_parameters(24576);
  training.mutable_result()->set_train_seconds(30);
  training.mutable_result()->set_adapter("a");
  v1::Adapter adapter;
  adapter.set_size_bytes(102'400);
  std::vector<ComparedJob> jobs = {Evaluation("lora", "x")};
  jobs[0].training = &training;
  (*jobs[0].job.mutable_result()->mutable_metrics())["lead3/rouge1"] = 0.4;
  (*jobs[0].job.mutable_result()->mutable_metrics())["oracle/rouge1"] = 0.7;
  const std::string table = ComparisonTable(jobs, {{"a", adapter}}, 200);
  for (const char* cell :
       {"lora", "24,576", "0.500", "30.0s", "102 kB", "lead-3", "0.400", "oracle", "0.700"}) {
    EXPECT_THAT(table, HasSubstr(cell));
  }
}

}  // namespace
}  // namespace graft
