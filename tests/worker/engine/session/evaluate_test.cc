#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/formats/evaluation_files.h"
#include "common/methods/last_layers.h"
#include "common/methods/soft_prompt.h"
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

TEST_F(EvaluateTest, EachRowHasItsLossBesideThatOfTheUntunedModel) {
  FineTune(LoraRequest());
  const auto outcome = session_->Evaluate(MakeEvaluateRequest(Path("out")), recorder_, stop_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(outcome->files, testing::ElementsAre("row_losses.jsonl", "predictions.jsonl"));
  const std::string path = Path("artifacts/row_losses.jsonl");
  const std::vector<std::string> lines = absl::StrSplit(ReadWhole(path), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 5u);
  const auto row = nlohmann::json::parse(lines[3]);
  EXPECT_EQ(row["row"], 3);
  EXPECT_EQ(row["line"], 4);
  EXPECT_EQ(row["id"], "r3");
  EXPECT_EQ(row["source"], "the 3 cats sat there");
  EXPECT_EQ(row["target"], "cats 3");
  EXPECT_NEAR(MeanOfRows(path), outcome->result.values.at("eval/loss"), 1e-6);
  EXPECT_NEAR(MeanOfRows(path, "untuned_loss"), outcome->result.values.at("untuned/loss"), 1e-6);
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

TEST_F(EvaluateTest, AnEvaluationThatWasPausedAnywhereHasTheBitsOfOneThatWasNot) {
  FineTune(LoraRequest());
  EvaluateRequest request = MakeEvaluateRequest(Path("out"));
  request.data = WriteRows("many.jsonl", 18);
  request.config.evaluation.generation_batch_size = 1;  // Texts are saved eight at a time.
  request.config.evaluation.sample_events = 16;
  request.config.evaluation.oracle_baseline = true;
  request.identity = "spec";
  RecordingSink whole_sink;
  const auto whole = session_->Evaluate(request, whole_sink, stop_);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const std::string predictions = ReadWhole(Path("artifacts/predictions.jsonl"));
  const std::string row_losses = ReadWhole(Path("artifacts/row_losses.jsonl"));
  request.checkpoint_directory = Path("checkpoints");

  int64_t went_on_with_texts = 0, pauses = 0;
  for (int64_t poll = 1;; poll += 3) {
    RecordingSink first, second;
    PauseAtPoll pause(poll);
    request.resume_from.clear();
    const auto paused = session_->Evaluate(request, first, pause);
    if (paused.ok()) break;
    ++pauses;
    ASSERT_TRUE(IsPaused(paused.status())) << paused.status();
    ASSERT_LE(first.checkpoints.size(), 1u);
    if (!first.checkpoints.empty()) {
      EXPECT_EQ(first.checkpoints[0].files.size(), 1u);
      went_on_with_texts += first.checkpoints[0].step > 36;  // Two losses of 18 rows.
      request.resume_from = Path("begun");
      ASSERT_TRUE(RemoveTree(request.resume_from).ok());
      ASSERT_TRUE(RenameAndSync(first.checkpoints[0].directory, request.resume_from).ok());
    }
    const auto rest = session_->Evaluate(request, second, stop_);
    ASSERT_TRUE(rest.ok()) << rest.status();
    EXPECT_EQ(rest->result.values, whole->result.values) << poll;
    EXPECT_EQ(rest->result.samples_sha256, whole->result.samples_sha256);
    EXPECT_EQ(rest->result.num_loss_tokens, whole->result.num_loss_tokens);
    EXPECT_EQ(rest->result.truncated_sources, whole->result.truncated_sources);
    EXPECT_EQ(ReadWhole(Path("artifacts/predictions.jsonl")), predictions);
    EXPECT_EQ(ReadWhole(Path("artifacts/row_losses.jsonl")), row_losses);
    ASSERT_EQ(second.samples.size(), 1u);
    EXPECT_EQ(second.samples[0].second.size(), 16u);
    if (!first.checkpoints.empty()) {  // What was done is not done again.
      EXPECT_EQ(second.rows.back().done, second.rows.back().total);
      EXPECT_LT(second.rows.size(), whole_sink.rows.size());
    }
    EXPECT_FALSE(DirectoryExists(request.checkpoint_directory)) << "the result takes its place";
  }
  EXPECT_GT(pauses, 20);
  EXPECT_GT(went_on_with_texts, 5);
}

TEST_F(EvaluateTest, APausedEvaluationMayBePausedAgain) {
  EvaluateRequest request = MakeEvaluateRequest("");
  request.data = WriteRows("many.jsonl", 18);
  request.config.evaluation.generation_batch_size = 1;
  const auto whole = session_->Evaluate(request, recorder_, stop_);
  ASSERT_TRUE(whole.ok()) << whole.status();
  request.checkpoint_directory = Path("checkpoints");
  int attempts = 1;
  absl::StatusOr<EvaluateOutcome> outcome;
  for (int64_t done = 0;; ++attempts) {
    ASSERT_LT(attempts, 100);
    RecordingSink sink;
    PauseAtPoll pause(45);
    outcome = session_->Evaluate(request, sink, pause);
    if (outcome.ok()) break;
    ASSERT_FALSE(sink.checkpoints.empty());
    EXPECT_GT(sink.checkpoints.back().step, done);
    done = sink.checkpoints.back().step;
    request.resume_from = sink.checkpoints.back().directory;
  }
  EXPECT_GT(attempts, 2);
  EXPECT_EQ(outcome->result.values, whole->result.values);
}

TEST_F(EvaluateTest, RowsThatAnEarlierBuildKeptNoLossesOfHaveThem) {
  FineTune(LoraRequest());
  EvaluateRequest request = MakeEvaluateRequest(Path("out"));
  ASSERT_TRUE(session_->Evaluate(request, recorder_, stop_).ok());
  const std::string row_losses = ReadWhole(Path("artifacts/row_losses.jsonl"));
  ASSERT_TRUE(RemoveTree(request.artifacts_directory).ok());
  request.checkpoint_directory = Path("checkpoints");
  RecordingSink first;
  PauseAtPoll pause(6);
  ASSERT_TRUE(IsPaused(session_->Evaluate(request, first, pause).status()));
  request.resume_from = first.checkpoints.back().directory;
  const std::string path = request.resume_from + "/evaluation.jsonl";
  const std::vector<std::string> lines = absl::StrSplit(ReadWhole(path), absl::MaxSplits('\n', 1));
  auto header = nlohmann::json::parse(lines[0]);
  ASSERT_GT(header["loss"]["rows"], 0);
  ASSERT_EQ(header["loss"].erase("of_rows"), 1u);
  ASSERT_EQ(header["untuned_loss"].erase("of_rows"), 1u);
  ASSERT_TRUE(WriteFileAtomically(path, absl::StrCat(header.dump(), "\n", lines[1])).ok());
  const auto rest = session_->Evaluate(request, recorder_, stop_);
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_EQ(ReadWhole(Path("artifacts/row_losses.jsonl")), row_losses);
}

TEST_F(EvaluateTest, ACheckpointOfAnotherEvaluationOrABrokenOneIsRefused) {
  EvaluateRequest request = MakeEvaluateRequest("");
  request.checkpoint_directory = Path("checkpoints");
  request.identity = "spec";
  PauseAtPoll pause(3);
  ASSERT_TRUE(IsPaused(session_->Evaluate(request, recorder_, pause).status()));
  request.resume_from = recorder_.checkpoints.back().directory;
  request.identity = "another spec";
  const absl::Status other = session_->Evaluate(request, recorder_, stop_).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(other.message(), testing::HasSubstr("is of another evaluation"));
  request.identity = "spec";
  const std::string path = request.resume_from + "/evaluation.jsonl";
  ASSERT_TRUE(WriteFileAtomically(path, "{\"format\":1}\n").ok());
  EXPECT_EQ(session_->Evaluate(request, recorder_, stop_).status().code(),
            absl::StatusCode::kDataLoss);
  ASSERT_TRUE(RemoveFile(path).ok());
  EXPECT_EQ(session_->Evaluate(request, recorder_, stop_).status().code(),
            absl::StatusCode::kNotFound);
}

// Three adapters of different methods in one evaluation.
class SeveralAdaptersTest : public EvaluateTest {
 protected:
  void SetUp() override {
    FineTune(LoraRequest("lora"));
    FineTuneRequest soft = LoraRequest("soft");
    soft.config.method = MethodConfig();
    soft.config.method.Get<SoftPromptConfig>().num_virtual_tokens = 3;
    soft.config.training.learning_rates["soft_prompt"] = 0.3;
    FineTune(soft);
    FineTuneRequest last = LoraRequest("last");
    last.config.method = MethodConfig();
    last.config.method.Get<LastLayersConfig>().num_layers = 1;
    FineTune(last);
  }
  EvaluateRequest Several() {
    EvaluateRequest request = MakeEvaluateRequest("");
    for (const char* name : kNames) request.adapters.push_back({name, Path(name)});
    request.config.evaluation.oracle_baseline = true;
    return request;
  }
  std::string FileOf(const std::string& adapter, const std::string& name) {
    return ReadWhole(Path("artifacts/" + EvaluationFile(adapter, name)));
  }

  static constexpr const char* kNames[] = {"lora", "soft", "last"};
};

TEST_F(SeveralAdaptersTest, EachIsScoredAsItIsAlone) {
  recorder_ = RecordingSink();
  const auto several = session_->Evaluate(Several(), recorder_, stop_);
  ASSERT_TRUE(several.ok()) << several.status();
  ASSERT_EQ(several->adapters.size(), 3u);
  EXPECT_THAT(
      several->files,
      testing::ElementsAre("adapters/lora/row_losses.jsonl", "adapters/lora/predictions.jsonl",
                           "adapters/soft/row_losses.jsonl", "adapters/soft/predictions.jsonl",
                           "adapters/last/row_losses.jsonl", "adapters/last/predictions.jsonl"));
  EXPECT_THAT(recorder_.samples_of, testing::ElementsAre("lora", "soft", "last"));
  ASSERT_EQ(recorder_.evaluations.size(), 3u);
  // Losses of three and of the untuned model, then texts of three.
  EXPECT_EQ(recorder_.rows.back().total, 4 * 5 + 3 * 5);
  EXPECT_EQ(recorder_.rows.back().done, recorder_.rows.back().total);
  for (size_t i = 0; i < 3; ++i) {
    const std::string name = kNames[i];
    EXPECT_EQ(recorder_.evaluations[i].adapter, name);
    EvaluateRequest alone = MakeEvaluateRequest(Path(name));
    alone.config.evaluation.oracle_baseline = true;
    const auto outcome = session_->Evaluate(alone, recorder_, stop_);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    const EvaluationEvent& result = several->adapters[i].result;
    EXPECT_EQ(several->adapters[i].trainable_parameters, outcome->trainable_parameters);
    EXPECT_EQ(result.samples_sha256, outcome->result.samples_sha256);
    EXPECT_EQ(result.num_loss_tokens, outcome->result.num_loss_tokens);
    ASSERT_EQ(result.values.size(), outcome->result.values.size());
    for (const auto& [metric, value] : outcome->result.values) {
      EXPECT_NEAR(result.values.at(metric), value, 1e-6) << name << " " << metric;
    }
    EXPECT_EQ(FileOf(name, "predictions.jsonl"), FileOf("", "predictions.jsonl")) << name;
    EXPECT_EQ(FileOf(name, "row_losses.jsonl"), FileOf("", "row_losses.jsonl")) << name;
  }
  EXPECT_NE(FileOf("lora", "row_losses.jsonl"), FileOf("soft", "row_losses.jsonl"));
}

TEST_F(SeveralAdaptersTest, OneThatWasPausedAnywhereHasTheBitsOfOneThatWasNot) {
  EvaluateRequest request = Several();
  request.data = WriteRows("many.jsonl", 18);
  request.config.evaluation.generation_batch_size = 1;
  request.identity = "spec";
  const auto whole = session_->Evaluate(request, recorder_, stop_);
  ASSERT_TRUE(whole.ok()) << whole.status();
  std::vector<std::string> files;
  for (const std::string& file : whole->files)
    files.push_back(ReadWhole(Path("artifacts/" + file)));
  request.checkpoint_directory = Path("checkpoints");
  int64_t pauses = 0, with_texts = 0;
  for (int64_t poll = 1;; poll += 17) {
    RecordingSink first, second;
    PauseAtPoll pause(poll);
    request.resume_from.clear();
    const auto paused = session_->Evaluate(request, first, pause);
    if (paused.ok()) break;
    ++pauses;
    ASSERT_TRUE(IsPaused(paused.status())) << paused.status();
    if (!first.checkpoints.empty()) {
      with_texts += first.checkpoints[0].step > 4 * 18;
      request.resume_from = Path("begun");
      ASSERT_TRUE(RemoveTree(request.resume_from).ok());
      ASSERT_TRUE(RenameAndSync(first.checkpoints[0].directory, request.resume_from).ok());
    }
    const auto rest = session_->Evaluate(request, second, stop_);
    ASSERT_TRUE(rest.ok()) << rest.status();
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(rest->adapters[i].result.values, whole->adapters[i].result.values) << poll;
    }
    for (size_t i = 0; i < files.size(); ++i) {
      EXPECT_EQ(ReadWhole(Path("artifacts/" + whole->files[i])), files[i]) << poll;
    }
    EXPECT_EQ(second.rows.back().done, second.rows.back().total);
  }
  EXPECT_GT(pauses, 10);
  EXPECT_GT(with_texts, 3);
}

TEST_F(SeveralAdaptersTest, OneThatDoesNotLoadIsNamed) {
  EvaluateRequest request = Several();
  request.adapters[1].directory = Path("nowhere");
  const absl::Status status = session_->Evaluate(request, recorder_, stop_).status();
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("adapter soft: "));
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
