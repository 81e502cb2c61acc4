#include "common/jobs/trained_with.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

std::string GraftJson(const std::string& data) {
  return absl::StrCat(R"({"graft_format": 1, "resolved_spec": {"fine_tune": {"data": )", data,
                      "}}}");
}

TEST(TrainedWithTest, IsWhatARowsTextsWentThrough) {
  v1::DataSpec data;
  data.set_train("news");
  data.set_source_field("article");
  data.set_prompt_template("{source} =>");
  data.set_max_source_tokens(40);
  data.set_max_target_tokens(8);
  const v1::DataSpec trained = TrainedWith(data);
  EXPECT_EQ(trained.prompt_template(), "{source} =>");
  EXPECT_EQ(trained.max_source_tokens(), 40);
  EXPECT_EQ(trained.max_target_tokens(), 8);
  EXPECT_FALSE(trained.has_source_field()) << "belongs to the data set";
  EXPECT_EQ(trained.train(), "");
  data.set_text_field("text");
  EXPECT_EQ(TrainedWith(data).ByteSizeLong(), 0u);
}

TEST(TrainedWithTest, GraftJsonHasItInItsSpec) {
  const auto trained = TrainedWithOfGraftJson(GraftJson(
      R"({"prompt_template": "{source} =>", "max_source_tokens": 40, "max_target_tokens": 8,
          "source_field": "article", "a_field_of_tomorrow": [1]})"));
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(trained->prompt_template(), "{source} =>");
  EXPECT_EQ(trained->max_source_tokens(), 40);
  EXPECT_EQ(trained->max_target_tokens(), 8);
  EXPECT_FALSE(trained->has_source_field());
}

TEST(TrainedWithTest, WhatIsNotSaidIsNotKnown) {
  for (const std::string& json : {std::string("{}"), GraftJson("{}"), GraftJson("[]"),
                                  GraftJson(R"({"text_field": "text"})")}) {
    const auto trained = TrainedWithOfGraftJson(json);
    ASSERT_TRUE(trained.ok()) << trained.status();
    EXPECT_EQ(trained->ByteSizeLong(), 0u) << json;
  }
}

TEST(TrainedWithTest, WhatCannotBeIsRefusedByItsField) {
  const auto error = [](const std::string& data) {
    return std::string(TrainedWithOfGraftJson(GraftJson(data)).status().message());
  };
  EXPECT_THAT(error(R"({"prompt_template": "no place"})"),
              HasSubstr("resolved_spec.fine_tune.data.prompt_template: must contain {source}"));
  EXPECT_THAT(error(R"({"prompt_template": 7})"), HasSubstr("data: prompt_template: "));
  EXPECT_THAT(error(R"({"max_source_tokens": 0})"), HasSubstr("data: max_source_tokens: "));
  EXPECT_THAT(error(R"({"max_target_tokens": 3000000000})"), HasSubstr("max_target_tokens"));
  EXPECT_EQ(TrainedWithOfGraftJson("no JSON").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TrainedWithTest, AFolderWithoutGraftJsonDoesNotSay) {
  const TempDir directory;
  const auto none = ReadTrainedWith(directory.Path("graft.json"));
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(none->ByteSizeLong(), 0u);
  ASSERT_TRUE(WriteFileAtomically(directory.Path("graft.json"), "[]").ok());
  EXPECT_THAT(std::string(ReadTrainedWith(directory.Path("graft.json")).status().message()),
              testing::StartsWith(directory.Path("graft.json")));
}

}  // namespace
}  // namespace graft
