#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "tests/worker/engine/session/session_fixture.h"

namespace graft {
namespace {

using testing::Contains;
using testing::Key;

using EvaluateTest = SessionTest;

TEST_F(EvaluateTest, AnEvaluationOfTheAdapterRepeatsItsLoss) {
  const FineTuneOutcome tuned = FineTune(LoraRequest());
  EvaluateRequest request = MakeEvaluateRequest(Path("out"));
  request.config.evaluation.sample_events = 3;
  request.config.evaluation.oracle_baseline = true;
  recorder_.rows.clear();
  const auto outcome = session_->Evaluate(request, recorder_, stop_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const auto& values = outcome->result.values;
  EXPECT_NEAR(values.at("eval/loss"), tuned.best.values.at("eval/loss"), 1e-6);
  EXPECT_GT(values.at("untuned/loss"), values.at("eval/loss"));
  EXPECT_THAT(values, Contains(Key("lead3/rougeLsum")));
  EXPECT_GE(values.at("oracle/rouge1"), values.at("lead3/rouge1"));
  EXPECT_THAT(values, Contains(Key("untuned/rouge1_low")));
  EXPECT_EQ(outcome->result.num_samples, 5);
  const std::vector<SampleTextEvent>& samples = recorder_.samples.back().second;
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[2].row, 2);
  EXPECT_EQ(samples[2].reference, "cats 2");

  std::vector<std::string> lines =
      absl::StrSplit(ReadWhole(Path("artifacts/predictions.jsonl")), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 5u);
  double sum = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto row = nlohmann::json::parse(lines[i]);
    EXPECT_EQ(row["index"], i);
    EXPECT_EQ(row["line"], i + 1);
    EXPECT_EQ(row["id"], absl::StrCat("r", i));
    EXPECT_EQ(row["references"].size(), 2u);
    EXPECT_LE(row["new_tokens"], 5);
    // Its one sentence.
    EXPECT_EQ(row["lead3"]["prediction"], row["source"]);
    EXPECT_TRUE(row["oracle"].contains("rougeL"));
    EXPECT_TRUE(row["untuned"].contains("rougeL"));
    sum += row["rouge1"]["f"].get<double>();
  }
  EXPECT_NEAR(sum / 5, values.at("eval/rouge1"), 1e-9);
}

TEST_F(EvaluateTest, AnEvaluationTellsTheRowsOfEachOfItsPasses) {
  FineTune(LoraRequest());
  // Two evaluations of 5 rows for the loss and 3 for texts.
  ASSERT_FALSE(recorder_.rows.empty());
  EXPECT_EQ(recorder_.rows.back().done, 8);
  EXPECT_EQ(recorder_.rows.back().total, 8);
  EXPECT_EQ(recorder_.rows.back().pass_begin, 5);
  EXPECT_EQ(recorder_.rows.back().pass_end, 8);

  recorder_.rows.clear();
  ASSERT_TRUE(session_->Evaluate(MakeEvaluateRequest(Path("out")), recorder_, stop_).ok());
  // Losses with the adapter and without it, then two texts a row.
  std::vector<std::pair<int64_t, int64_t>> passes;
  int64_t done = 0;
  for (const RowsEvent& rows : recorder_.rows) {
    EXPECT_EQ(rows.total, 15);
    EXPECT_GE(rows.done, done);
    done = rows.done;
    if (passes.empty() || passes.back().first != rows.pass_begin) {
      EXPECT_EQ(rows.done, rows.pass_begin);  // Told when it begins.
      passes.emplace_back(rows.pass_begin, rows.pass_end);
    }
  }
  EXPECT_EQ(done, 15);
  EXPECT_EQ(passes, (std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {5, 10}, {10, 15}}));
}

TEST_F(EvaluateTest, TheUntunedModelIsEvaluatedWithoutAdapter) {
  EvaluateRequest request = MakeEvaluateRequest("");
  const auto outcome = session_->Evaluate(request, recorder_, stop_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->result.values.count("untuned/loss"), 0u);
  EXPECT_EQ(outcome->trainable_parameters, 0);
}

}  // namespace
}  // namespace graft
