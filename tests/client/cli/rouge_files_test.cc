#include "client/cli/rouge_files.h"

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class RougeFilesTest : public ::testing::Test {
 protected:
  // The report of two files with these contents.
  absl::StatusOr<RougeFileReport> Score(const std::string& predictions,
                                        const std::string& references) {
    options_.predictions_path = directory_.Path(predictions_name_);
    options_.references_path = directory_.Path(references_name_);
    EXPECT_TRUE(WriteFileAtomically(options_.predictions_path, predictions).ok());
    EXPECT_TRUE(WriteFileAtomically(options_.references_path, references).ok());
    rows_.clear();
    return ScoreRougeFiles(options_, [this](const RougeFileRow& row) { rows_.push_back(row); });
  }
  std::string Error(const std::string& predictions, const std::string& references) {
    const auto report = Score(predictions, references);
    EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(report.status().message());
  }

  const TempDir directory_;
  std::string predictions_name_ = "p.txt";
  std::string references_name_ = "r.txt";
  RougeFileOptions options_;
  std::vector<RougeFileRow> rows_;
};

TEST_F(RougeFilesTest, EveryLineOfATextIsARowAnEmptyOneToo) {
  const auto report = Score("the cat\r\n\nthe dog", "the cat\nthe cow\nthe dog\n");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->num_samples, 3);
  ASSERT_EQ(rows_.size(), 3u);
  EXPECT_EQ(rows_[0].scores.rouge1.f, 1);
  EXPECT_EQ(rows_[1].scores.rouge1.f, 0);
  EXPECT_EQ(rows_[2].scores.rouge2.f, 1);
  EXPECT_EQ(report->types[0].name, "rouge1");
  EXPECT_EQ(report->types[0].f.mean, 2.0 / 3);
  EXPECT_LT(report->types[0].f.low, report->types[0].f.mean);
}

TEST_F(RougeFilesTest, TheStemmerIsOnUnlessToldOtherwise) {
  ASSERT_TRUE(Score("running", "runs\n").ok());
  EXPECT_EQ(rows_[0].scores.rouge1.f, 1);
  options_.use_stemmer = false;
  ASSERT_TRUE(Score("running", "runs\n").ok());
  EXPECT_EQ(rows_[0].scores.rouge1.f, 0);
}

TEST_F(RougeFilesTest, JsonLinesHaveTheirSummaryInAFieldAndSeveralReferencesInAList) {
  predictions_name_ = "p.jsonl";
  references_name_ = "r.jsonl";
  const auto report =
      Score("{\"summary\": \"x\", \"prediction\": \"a b\", \"id\": 7}\n\n{\"prediction\": \"c\"}\n",
            "{\"references\": [\"q\", \"a b\"], \"id\": \"7\"}\n{\"references\": \"c\"}\n");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(rows_[0].scores.rouge_l.f, 1);
  EXPECT_EQ(rows_[0].id, "7");
  EXPECT_EQ(rows_[1].line, 3);
  EXPECT_EQ(report->types[0].f.mean, 1);

  options_.prediction_field = "summary";
  EXPECT_THAT(Error("{\"summary\": \"a\"}\n{\"prediction\": \"b\"}\n",
                    "{\"reference\": \"a\"}\n"
                    "{\"reference\": \"a\"}\n"),
              AllOf(HasSubstr("p.jsonl: line 2"), HasSubstr("\"summary\" is missing")));
}

TEST_F(RougeFilesTest, SentencesAreSplitForRougeLsumOnlyWhenAsked) {
  const std::string prediction = "Dogs bark. The cat sat.";
  const std::string reference = "The cat sat. Dogs bark.";
  const auto whole = Score(prediction, reference);
  ASSERT_TRUE(whole.ok());
  EXPECT_FALSE(whole->any_sentences);
  EXPECT_LT(rows_[0].scores.rouge_lsum.f, 1);
  options_.split_sentences = true;
  const auto split = Score(prediction, reference);
  ASSERT_TRUE(split.ok());
  EXPECT_TRUE(split->any_sentences);
  EXPECT_EQ(rows_[0].scores.rouge_lsum.f, 1);
  EXPECT_LT(rows_[0].scores.rouge_l.f, 1);
  EXPECT_EQ(split->samples_sha256, whole->samples_sha256);
}

TEST_F(RougeFilesTest, FilesThatDoNotGoTogetherAreRefusedWithTheirNameAndLine) {
  EXPECT_THAT(Error("a\nb\n", "a\n"),
              AllOf(HasSubstr("r.txt ends after 1 rows"), HasSubstr("p.txt has another one on line "
                                                                    "2")));
  EXPECT_THAT(Error("a\n", "a\nb\n"), HasSubstr("p.txt ends after 1 rows"));
  EXPECT_THAT(Error("", ""), HasSubstr("p.txt has no rows"));
  EXPECT_THAT(Error("a\nb\xff\n", "a\nb\n"),
              AllOf(HasSubstr("p.txt: line 2"), HasSubstr("invalid UTF-8 at byte 2")));
  EXPECT_THAT(Error("\xff\xfe", "a\n"), HasSubstr("p.txt: line 1: the file is UTF-16"));
  options_.types = {"rouge1", "rouge3"};
  EXPECT_THAT(Error("a\n", "a\n"), HasSubstr("\"rouge3\""));
}

TEST_F(RougeFilesTest, BrokenRowsOfJsonLinesAreRefusedWithTheirNameAndLine) {
  predictions_name_ = "p.jsonl";
  references_name_ = "r.jsonl";
  const std::string row = "{\"prediction\": \"a\"}\n";
  const std::string reference = "{\"reference\": \"a\"}\n";
  EXPECT_THAT(Error(row + "{\"prediction\": \n", reference + reference),
              AllOf(HasSubstr("p.jsonl: line 2"), HasSubstr("column")));
  EXPECT_THAT(Error("{\"text\": \"a\"}\n", reference),
              AllOf(HasSubstr("no field prediction or summary"), HasSubstr("text")));
  EXPECT_THAT(Error("{\"prediction\": [\"a\"]}\n", reference), HasSubstr("is a list"));
  EXPECT_THAT(Error("{\"prediction\": 5}\n", reference), HasSubstr("is a number"));
  EXPECT_THAT(Error(row, "{\"reference\": []}\n"), HasSubstr("r.jsonl: line 1: field "
                                                             "\"reference\" is an empty list"));
  EXPECT_THAT(Error("[]\n", reference), HasSubstr("JSON list"));
  EXPECT_THAT(Error("{\"prediction\": \"a\", \"id\": 1}\n", "{\"reference\": \"a\", \"id\": 2}\n"),
              AllOf(HasSubstr("id \"1\" stands beside id \"2\""), HasSubstr("r.jsonl, line 1")));
}

TEST_F(RougeFilesTest, JsonHasEveryRowAndWhatTheMeansDependOn) {
  options_.types = {"rouge1"};
  const auto report = Score("a b\nc\n", "a\nc\n");
  ASSERT_TRUE(report.ok());
  const auto row = nlohmann::json::parse(RougeRowJson(rows_[0], options_.types));
  EXPECT_EQ(row, nlohmann::json::parse(
                     R"({"index": 0, "line": 1,
                         "rouge1": {"precision": 0.5, "recall": 1.0, "f": 0.6666666666666666}})"));
  const auto aggregate =
      nlohmann::json::parse(RougeAggregateJson(*report, options_)).at("aggregate");
  EXPECT_EQ(aggregate.at("num_samples"), 2);
  EXPECT_EQ(aggregate.at("rouge1").at("precision").at("mean"), 0.75);
  EXPECT_EQ(aggregate.at("sentence_splitter"), "newline");
  EXPECT_EQ(aggregate.at("use_stemmer"), true);
  // printf 'a\0\1c\0\1' | sha256sum
  EXPECT_EQ(aggregate.at("samples_sha256"), report->samples_sha256);
  EXPECT_EQ(report->samples_sha256,
            "1f561cb99f2e8f229224d516debe064f3f88021281561db22b7dc32678e80b80");
}

}  // namespace
}  // namespace graft
