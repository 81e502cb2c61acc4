#include "common/text/file_kinds.h"

#include <gmock/gmock.h>

namespace graft {
namespace {

using testing::HasSubstr;

template <size_t N>
std::string Head(const char (&text)[N]) {
  return {text, N - 1};
}

TEST(FileKindsTest, WhatIsNoTextIsNamedWithHowToMakeRowsOfIt) {
  struct Case {
    std::string head;
    const char* named;
  };
  const Case cases[] = {
      {Head("\x28\xB5\x2F\xFD\x04"), "zstd -d FILE"},
      {Head("\xFD"
            "7zXZ\0\0"),
       "xz -d FILE"},
      {Head("BZh91AY&SYx"), "bzip2 -d FILE"},
      {Head("PAR1\x15\x04"), "pandas.read_parquet"},
      {Head("PK\x03\x04\x14"), "save the sheet as CSV UTF-8"},
      {Head("ARROW1\0\0"), "pandas.read_feather"},
      {Head("\xFF\xFF\xFF\xFF\x10"), "datasets.Dataset.from_file"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:", "git lfs pull"},
      {"<!DOCTYPE html><html>", "a web page"},
      {Head("\xFF\xFE{\0"), "iconv -f UTF-16"},
      {Head("{\0\"\0a\0"), "zero byte"},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.named);
    const absl::Status status = CheckIsText(bad.head);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.named));
  }
}

TEST(FileKindsTest, TextIsText) {
  for (const char* head : {"", "a,b\n", "{\"a\": 1}\n", "\xEF\xBB\xBF{", "PAR1,PAR2\n", "PK\n"}) {
    EXPECT_TRUE(CheckIsText(head).ok()) << head;
  }
  EXPECT_TRUE(CheckIsText(Head("{\"a\": \"\0\"}\n")).ok()) << "its row says so";
}

TEST(FileKindsTest, JsonThatIsNotOneObjectALineIsNamedWithTheCommand) {
  EXPECT_TRUE(CheckIsJsonLines("{\"a\": 1}\n{").ok());
  EXPECT_TRUE(CheckIsJsonLines("{").ok()) << "one broken row";
  EXPECT_THAT(std::string(CheckIsJsonLines(" \n[{\"a\": 1},\n").message()),
              HasSubstr("jq -c '.[]' FILE > rows.jsonl"));
  EXPECT_THAT(std::string(CheckIsJsonLines("{\r\n  \"a\": 1\n}").message()),
              HasSubstr("jq -c . FILE > rows.jsonl"));
}

}  // namespace
}  // namespace graft
