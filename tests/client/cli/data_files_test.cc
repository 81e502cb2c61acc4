#include "client/cli/data_files.h"

#include <string>

#include "common/base/file.h"
#include "common/base/limits.h"
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
  EXPECT_EQ(*DatasetNameOfFile(Write("my articles.jsonl", "{}\n"), "--train"),
            "my-articles-ca3d163b");
  EXPECT_EQ(*DatasetNameOfFile(Write(std::string(200, 'x'), "{}\n"), "--train"),
            std::string(kMaxNameBytes - 9, 'x') + "-ca3d163b");
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

TEST_F(DataFilesTest, FirstRowsAreReadWithTheFieldsOfTheJob) {
  const std::string pairs = Write("pairs.jsonl", R"({"document": "d", "summary": "s"})");
  v1::DataSpec data;
  EXPECT_TRUE(CheckFirstRows(pairs, data, 0, "--train").ok());
  data.set_target_field("highlights");
  const absl::Status status = CheckFirstRows(pairs, data, 0, "--train");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "--train: " + pairs +
                                  ": line 1: field \"highlights\" is missing; the row has: "
                                  "document, summary");
  v1::DataSpec plain;
  plain.set_text_field("document");
  EXPECT_TRUE(CheckFirstRows(pairs, plain, 0, "--train").ok());
}

TEST_F(DataFilesTest, ARowFarDownIsTheServersBusiness) {
  std::string rows;
  for (int i = 0; i < 100; ++i)
    rows += R"({"document": "d", "summary": "s"})"
            "\n";
  EXPECT_TRUE(CheckFirstRows(Write("rows.jsonl", rows + "no JSON\n"), {}, 0, "--train").ok());
  const absl::Status status = CheckFirstRows(
      Write("broken.jsonl", rows.substr(0, rows.size() / 2) + "no JSON\n"), {}, 0, "--train");
  EXPECT_THAT(std::string(status.message()), HasSubstr(": line 51: "));
}

TEST_F(DataFilesTest, RowsThatTheJobLeavesOutAreNotRead) {
  const std::string file = Write("two.jsonl", R"({"document": "d", "summary": "s"})"
                                              "\n"
                                              R"({"document": "d"})"
                                              "\n");
  EXPECT_FALSE(CheckFirstRows(file, {}, 0, "--train").ok());
  EXPECT_FALSE(CheckFirstRows(file, {}, 2, "--train").ok());
  EXPECT_TRUE(CheckFirstRows(file, {}, 1, "--train").ok());
}

TEST_F(DataFilesTest, AFileWithoutRowsIsRefused) {
  EXPECT_THAT(std::string(CheckFirstRows(Write("none.csv", ""), {}, 0, "--data").message()),
              HasSubstr("no rows"));
}

}  // namespace
}  // namespace graft
