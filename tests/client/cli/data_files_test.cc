#include "client/cli/data_files.h"

#include <string>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class DataFilesTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically(dir_.Path(name), content).ok());
    return dir_.Path(name);
  }

  TempDir dir_;
};

TEST_F(DataFilesTest, ADataSetIsNamedAfterItsFileAndTheHash) {
  EXPECT_EQ(DatasetOfFile(Write("my articles.jsonl", "{}\n"), "--train")->name,
            "my-articles-ca3d163b");
  EXPECT_EQ(DatasetOfFile(Write(std::string(200, 'x'), "{}\n"), "--train")->name,
            std::string(kMaxNameBytes - 9, 'x') + "-ca3d163b");
}

TEST_F(DataFilesTest, TheSameBytesHaveANameForEachFormatThatTheyAreReadIn) {
  const auto name_of = [&](const std::string& file) {
    return DatasetOfFile(Write(file, "text\n"), "--train")->name;
  };
  const std::string hash = name_of("notes.jsonl").substr(5);
  EXPECT_EQ(name_of("notes.ndjson"), "notes" + hash);
  EXPECT_EQ(name_of("notes"), "notes" + hash);
  EXPECT_EQ(name_of("notes.csv"), "notes-csv" + hash);
  EXPECT_EQ(name_of("notes.TSV.gz"), "notes-csv" + hash);
  EXPECT_EQ(name_of("notes.txt"), "notes-txt" + hash);
  EXPECT_EQ(name_of(std::string(200, 'x') + ".csv"),
            std::string(kMaxNameBytes - 13, 'x') + "-csv" + hash);
}

TEST_F(DataFilesTest, APackedFileIsNamedLikeTheFileInIt) {
  EXPECT_EQ(*NameOfFile("data/articles.jsonl.gz", 100, "--train"), "articles");
}

TEST_F(DataFilesTest, WhatIsNoFileIsANameUnlessItIsAPath) {
  EXPECT_TRUE(*IsDataFile(Write("articles.jsonl", "{}\n"), "--train"));
  EXPECT_FALSE(*IsDataFile("no file here", "--train"));
  EXPECT_EQ(IsDataFile("./nowhere", "--train").status().message(),
            "--train: there is no file ./nowhere");
  const absl::Status unnamed = IsDataFile(Write("日本.jsonl", "{}\n"), "--validation").status();
  EXPECT_EQ(unnamed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unnamed.message()), StartsWith("--validation: "));
}

TEST_F(DataFilesTest, RowsAreReadWithTheFieldsOfTheJob) {
  const std::string pairs = Write("pairs.jsonl", R"({"document": "d", "summary": "s"})");
  v1::DataSpec data;
  EXPECT_TRUE(CheckRows(pairs, data, 0, "--train").ok());
  data.set_target_field("highlights");
  const absl::Status status = CheckRows(pairs, data, 0, "--train");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "--train: " + pairs +
                                  ": line 1: field \"highlights\" is missing; the row has: "
                                  "document, summary");
  v1::DataSpec plain;
  plain.set_text_field("document");
  EXPECT_TRUE(CheckRows(pairs, plain, 0, "--train").ok());
}

TEST_F(DataFilesTest, EveryRowIsReadAndTheFirstProblemsAreListed) {
  std::string rows;
  for (int i = 0; i < 150; ++i) rows += "{\"document\": \"d\", \"summary\": \"s\"}\n";
  for (int i = 0; i < 27; ++i) rows += "{\"document\": \"d\", \"summary\": null}\n";
  const std::string file = Write("rows.jsonl", rows);
  const auto problems = FieldViolationsOf(CheckRows(file, {}, 0, "--train"));
  ASSERT_EQ(problems.size(), 21u);
  EXPECT_EQ(problems[0].field(), "--train");
  EXPECT_THAT(problems[0].description(),
              StartsWith(file + ": line 151: field \"summary\" is null"));
  EXPECT_EQ(problems[20].description(), file + ": … and 7 more");
}

TEST_F(DataFilesTest, RowsThatTheJobLeavesOutAreNotRead) {
  const std::string file = Write("two.jsonl", R"({"document": "d", "summary": "s"})"
                                              "\n"
                                              R"({"document": "d"})"
                                              "\n");
  EXPECT_FALSE(CheckRows(file, {}, 0, "--train").ok());
  EXPECT_FALSE(CheckRows(file, {}, 2, "--train").ok());
  EXPECT_TRUE(CheckRows(file, {}, 1, "--train").ok());
}

TEST_F(DataFilesTest, AFileWithoutRowsIsRefused) {
  EXPECT_THAT(std::string(CheckRows(Write("none.csv", ""), {}, 0, "--data").message()),
              HasSubstr("no rows"));
}

}  // namespace
}  // namespace graft
