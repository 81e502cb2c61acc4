#include "worker/engine/evaluation/row_loss_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using testing::HasSubstr;

// Of a file of which the rows 1 and 3 are used.
class TwoRows : public ExampleSource {
 public:
  int64_t size() const override { return 2; }
  Example Get(int64_t) const override { return {}; }
  int64_t Line(int64_t index) const override { return 2 * index + 2; }
  int64_t Row(int64_t index) const override { return 2 * index + 1; }
};

class RowLossFileTest : public ::testing::Test {
 protected:
  DataSetFile Rows(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      absl::StrAppend(&text, "{\"id\": \"r", i, "\", \"document\": \"", std::string(300, 'x'),
                      "\", \"summary\": \"short ", i, "\"}\n");
    }
    EXPECT_TRUE(WriteFileAtomically(directory_.Path("rows.jsonl"), text).ok());
    return {directory_.Path("rows.jsonl"), "", "rows"};
  }
  std::string Write(RowLossFile& file, const std::vector<RowLoss>& untuned = {}) {
    Pulse pulse;
    const std::string path = directory_.Path("row_losses.jsonl");
    EXPECT_TRUE(file.Write(path, TwoRows(), {{0, 4, 2}, {1, 2, 3}}, untuned, pulse).ok());
    return *ReadFile(path, 1 << 20);
  }

  const TempDir directory_;
  const DataConfig config_{};
};

TEST_F(RowLossFileTest, RowsAreToldWithTheBeginningsOfTheirTexts) {
  auto file = RowLossFile::Open(Rows(5), config_);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(RemoveFile(directory_.Path("rows.jsonl")).ok());  // As a worker may.
  EXPECT_EQ(
      Write(*file, {{1, 2, 5}}),
      absl::StrCat("{\"row\":1,\"line\":2,\"id\":\"r1\",\"tokens\":4,\"loss\":0.5,\"source\":\"",
                   std::string(200, 'x'), "…\",\"target\":\"short 1\"}\n",
                   "{\"row\":3,\"line\":4,\"id\":\"r3\",\"tokens\":2,\"loss\":1.5,"
                   "\"untuned_loss\":2.5,\"source\":\"",
                   std::string(200, 'x'), "…\",\"target\":\"short 3\"}\n"));
}

TEST_F(RowLossFileTest, WhatTheFileHasNotAnyMoreIsLeftOut) {
  auto file = RowLossFile::Open(Rows(2), config_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(Write(*file), HasSubstr("{\"row\":3,\"line\":4,\"tokens\":2,\"loss\":1.5}\n"));
}

TEST_F(RowLossFileTest, PlainTextHasNoTexts) {
  DataConfig plain;
  plain.text_field = "text";
  auto file = RowLossFile::Open({}, plain);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(Write(*file),
            "{\"row\":1,\"line\":2,\"tokens\":4,\"loss\":0.5}\n"
            "{\"row\":3,\"line\":4,\"tokens\":2,\"loss\":1.5}\n");
}

}  // namespace
}  // namespace graft
