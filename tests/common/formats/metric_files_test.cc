#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "common/formats/metrics_jsonl.h"
#include "common/formats/tensorboard.h"
#include "common/formats/trainer_state.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const std::vector<MetricRow> kRows = {
    {1, 0.5, 1750000000.25, {{"train/loss", 2.5}, {"train/grad_norm", 1.0}}},
    {2, 1.0, 1750000001.5, {{"train/loss", 2.25}, {"train/tokens_per_second", 1234.0}}},
    {2, 1.0, 1750000002.0, {{"eval/loss", 2.125}, {"eval/rougeL", 0.25}}},
};

TEST(MetricsJsonlTest, OneObjectALineInFixedOrder) {
  const std::vector<std::string> lines = absl::StrSplit(MetricsJsonl(kRows), '\n');
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(
      lines[0],
      R"({"step":1,"epoch":0.5,"wall_time_seconds":1750000000.25,"train/grad_norm":1.0,"train/loss":2.5})");
  EXPECT_EQ(json::parse(lines[2])["eval/rougeL"], 0.25);
  EXPECT_EQ(lines[3], "");
  EXPECT_EQ(MetricsJsonl({}), "");
}

TEST(MetricsJsonlTest, NumbersAreExactAndNonFiniteOnesNull) {
  const double value = 0.1 + 0.2;
  const json row = json::parse(MetricsJsonl({{1, 0, 0, {{"a", value}, {"b", std::nan("")}}}}));
  EXPECT_EQ(row["a"].get<double>(), value);
  EXPECT_TRUE(row["b"].is_null());
}

TEST(TrainerStateTest, LogHasTheNamesOfTheTrainer) {
  const std::string text = TrainerStateJson(kRows, {.max_steps = 4,
                                                    .num_train_epochs = 2,
                                                    .train_batch_size = 8,
                                                    .best_metric = 2.125,
                                                    .best_global_step = 2});
  const json state = json::parse(text);
  EXPECT_EQ(state["log_history"], json::parse(R"([{"epoch":0.5,"grad_norm":1.0,"loss":2.5,"step":1},
                            {"epoch":1.0,"loss":2.25,"step":2,"train_tokens_per_second":1234.0},
                            {"epoch":1.0,"eval_loss":2.125,"eval_rougeL":0.25,"step":2}])"));
  EXPECT_EQ(state["global_step"], 2);
  EXPECT_EQ(state["epoch"], 1.0);
  EXPECT_EQ(state["best_metric"], 2.125);
  EXPECT_EQ(state["best_global_step"], 2);
  EXPECT_EQ(state["train_batch_size"], 8);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_THAT(text, HasSubstr("{\n  \"best_global_step\": 2,\n"));
}

TEST(TrainerStateTest, EntriesAreIndentedAsPythonDoes) {
  const std::string text = TrainerStateJson(kRows, {});
  EXPECT_EQ(text, json::parse(text).dump(2) + "\n");
  EXPECT_THAT(text, HasSubstr("\"log_history\": [\n    {\n      \"epoch\": 0.5,\n"));
}

TEST(TrainerStateTest, PartsMayBeTakenAwayBetweenRows) {
  TrainerStateInfo info;
  info.global_step = 2;
  info.epoch = 1;
  std::string part;
  std::string text;
  TrainerStateWriter writer(info, part);
  for (const MetricRow& row : kRows) {
    text += part;
    part.clear();
    writer.Add(row);
  }
  writer.Finish();
  EXPECT_EQ(text + part, TrainerStateJson(kRows, {}));
}

TEST(TrainerStateTest, RowOfBothKindsIsTwoEntries) {
  const json state =
      json::parse(TrainerStateJson({{3, 1, 0, {{"train/loss", 1.0}, {"eval/loss", 2.0}}}}, {}));
  ASSERT_EQ(state["log_history"].size(), 2u);
  EXPECT_EQ(state["log_history"][0]["loss"], 1.0);
  EXPECT_EQ(state["log_history"][1]["eval_loss"], 2.0);
  EXPECT_TRUE(state["best_metric"].is_null());
}

TEST(TrainerStateTest, EmptyLogIsAFileToo) {
  const json state = json::parse(TrainerStateJson({}, {}));
  EXPECT_EQ(state["log_history"], json::array());
  EXPECT_EQ(state["global_step"], 0);
  EXPECT_EQ(state.size(), 20u);  // the fields of transformers 5.17
}

TEST(TensorBoardTest, ChecksumIsCastagnolis) {
  // RFC 3720, B.4.
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(""), 0u);
}

TEST(TensorBoardTest, RecordsHaveTheBytesOfTensorBoard) {
  // Written by the RecordWriter of tensorboard 2.21.0 from the same events.
  EXPECT_EQ(
      absl::BytesToHexString(TensorBoardEvents({{300, 0, 1.5, {{"eval/loss", 0.1}, {"x", 1.5}}}})),
      "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a32"
      "2a28646c2a00000000000000ae8d91f509000000000000f83f10ac022a1c0a100a096576"
      "616c2f6c6f737315cdcccc3d0a080a0178150000c03fec91cb4e");
}

TEST(TensorBoardTest, NameFollowsFromTheLog) {
  EXPECT_EQ(TensorBoardFileName(kRows), "events.out.tfevents.1750000000.graft");
  EXPECT_EQ(TensorBoardFileName({}), "events.out.tfevents.0000000000.graft");
}

}  // namespace
}  // namespace graft
