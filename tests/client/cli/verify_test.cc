#include "client/cli/verify.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using Outcome = VerifyCheck::Outcome;

// A directory that verifies, as far as no model is needed.
class VerifyAdapterTest : public ::testing::Test {
 protected:
  VerifyAdapterTest() {
    Write("weights", "0123456789");
    Write("metrics.jsonl",
          "{\"step\":1,\"train/loss\":3}\n{\"step\":2,\"eval/loss\":0.5,\"eval/rouge1\":0.25}\n");
    Write("trainer_state.json",
          "{\"best_global_step\": 2, \"log_history\": [{\"step\": 1, \"loss\": 3.0}, "
          "{\"step\": 2, \"eval_loss\": 0.5}]}");
    record_ = {
        {"graft_format", 1},
        {"kind", "adapter"},
        {"base_model", {{"name", "tiny"}, {"sha256", "aa"}}},
        {"data", {{"train", {{"name", "news"}, {"sha256", Sha256Hex("rows")}}}}},
        {"result", {{"best_step", 2}, {"metrics", {{"eval/loss", 0.5}, {"eval/rouge1", 0.25}}}}},
        {"files",
         {{{"path", "weights"}, {"size_bytes", 10}, {"sha256", Sha256Hex("0123456789")}}}}};
    sources_.base_model = [](const std::string& name) { return name == "tiny" ? "aa" : "bb"; };
    sources_.data_set = [](const std::string&) { return Sha256Hex("rows"); };
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(directory_.Path(name), text).ok());
  }
  std::vector<VerifyCheck> Verify() {
    Write("graft.json", record_.dump());
    auto checks = VerifyAdapterDirectory(directory_.path(), sources_);
    EXPECT_TRUE(checks.ok()) << checks.status();
    return *std::move(checks);
  }
  // The check whose name begins with `what`.
  static VerifyCheck Find(const std::vector<VerifyCheck>& checks, const std::string& what) {
    for (const VerifyCheck& check : checks) {
      if (check.what.rfind(what, 0) == 0) return check;
    }
    ADD_FAILURE() << "no check " << what;
    return {};
  }
  // Exactly one check differs, and it is this one.
  void ExpectOnlyDifference(const std::string& what) {
    const std::vector<VerifyCheck> checks = Verify();
    EXPECT_FALSE(Holds(checks));
    for (const VerifyCheck& check : checks) {
      const bool named = check.what.rfind(what, 0) == 0;
      EXPECT_EQ(check.outcome == Outcome::kDiffers, named) << check.what << ": " << check.detail;
    }
    EXPECT_EQ(Find(checks, what).outcome, Outcome::kDiffers);
  }

  const TempDir directory_;
  Json record_;
  VerifySources sources_;
};

TEST_F(VerifyAdapterTest, AValueOfAnotherTypeIsAnErrorThatNamesTheFolder) {
  for (const char* value : {R"({"best_step": "two"})", R"("good")", R"({"metrics": [1]})"}) {
    record_["result"] = Json::parse(value);
    Write("graft.json", record_.dump());
    const absl::Status status = VerifyAdapterDirectory(directory_.path(), sources_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << value;
    EXPECT_THAT(std::string(status.message()), HasSubstr(directory_.path()));
  }
}

TEST_F(VerifyAdapterTest, WhatWasNotTouchedHolds) {
  const std::vector<VerifyCheck> checks = Verify();
  EXPECT_TRUE(Holds(checks)) << VerifyText(checks);
  for (const char* what : {"file weights", "base model tiny", "train data news", "metrics of the",
                           "best step and its loss"}) {
    EXPECT_EQ(Find(checks, what).outcome, Outcome::kOk) << what;
  }
}

TEST_F(VerifyAdapterTest, AChangedByteIsFoundInItsFile) {
  Write("weights", "0123456780");
  ExpectOnlyDifference("file weights");
}

TEST_F(VerifyAdapterTest, AMissingFileIsADifference) {
  ASSERT_TRUE(RemoveFile(directory_.Path("weights")).ok());
  ExpectOnlyDifference("file weights");
}

TEST_F(VerifyAdapterTest, AnotherBaseModelOrDataSetIsADifference) {
  record_["base_model"]["name"] = "other";
  ExpectOnlyDifference("base model other");
  record_["base_model"]["name"] = "tiny";
  record_["data"]["train"]["sha256"] = "cc";
  ExpectOnlyDifference("train data news");
}

TEST_F(VerifyAdapterTest, MetricsThatTheLogDoesNotHaveAreADifference) {
  record_["result"]["metrics"]["eval/rouge1"] = 0.26;
  ExpectOnlyDifference("metrics of the best step");
}

TEST_F(VerifyAdapterTest, AnotherBestStepIsADifference) {
  Write("trainer_state.json",
        "{\"best_global_step\": 1, \"log_history\": [{\"step\": 2, \"eval_loss\": 0.5}]}");
  ExpectOnlyDifference("best step and its loss");
}

TEST_F(VerifyAdapterTest, WhatTheServerPublishedIsComparedToo) {
  sources_.published = {{"metrics.jsonl", 3, Sha256Hex("abc")}};
  ExpectOnlyDifference("file metrics.jsonl as the server");
}

TEST_F(VerifyAdapterTest, WhatNobodyCanSayIsNotChecked) {
  sources_.base_model = [](const std::string&) { return absl::UnavailableError("no server"); };
  sources_.data_set = nullptr;
  const std::vector<VerifyCheck> checks = Verify();
  EXPECT_TRUE(Holds(checks));
  EXPECT_EQ(Find(checks, "base model").outcome, Outcome::kNotChecked);
  EXPECT_EQ(Find(checks, "base model").detail, "no server");
  EXPECT_EQ(Find(checks, "train data").outcome, Outcome::kNotChecked);
  EXPECT_THAT(Find(checks, "tensors").detail, HasSubstr("--base-model"));
}

TEST_F(VerifyAdapterTest, DataFilesHereTakeThePlaceOfTheServer) {
  sources_.data_set = nullptr;
  Write("rows.jsonl", "rows");
  sources_.data_files = {directory_.Path("rows.jsonl")};
  EXPECT_EQ(Find(Verify(), "train data").outcome, Outcome::kOk);
  Write("rows.jsonl", "other rows");
  ExpectOnlyDifference("data file");
}

TEST_F(VerifyAdapterTest, PathsThatLeaveTheDirectoryAreRefused) {
  record_["files"][0]["path"] = "../weights";
  Write("graft.json", record_.dump());
  const auto checks = VerifyAdapterDirectory(directory_.path(), sources_);
  EXPECT_EQ(checks.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(checks.status().message()), HasSubstr("../weights"));
}

TEST_F(VerifyAdapterTest, ARecordOfSomebodyElseIsRefused) {
  Write("graft.json", "{\"name\": \"x\"}");
  const auto checks = VerifyAdapterDirectory(directory_.path(), sources_);
  EXPECT_EQ(checks.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(checks.status().message()), HasSubstr("graft_format"));
}

TEST(VerifyTextTest, HasALineForEachCheck) {
  const std::vector<VerifyCheck> checks = {{"a", Outcome::kOk, ""},
                                           {"b", Outcome::kDiffers, "expected 1, found 2"},
                                           {"c", Outcome::kNotChecked, "no server"}};
  EXPECT_EQ(VerifyText(checks),
            "ok           a\nDIFFERS      b: expected 1, found 2\nnot checked  c: no server\n");
  EXPECT_EQ(VerifyJson({checks[1]}),
            "{\"check\":\"b\",\"outcome\":\"differs\",\"detail\":\"expected 1, found 2\"}\n");
}

}  // namespace
}  // namespace graft
