#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/methods/full.h"
#include "common/methods/lora.h"
#include "tests/worker/engine/session/session_fixture.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Key;

using FineTuneTest = SessionTest;

TEST_F(FineTuneTest, FineTuningTellsWhatHappensAndLeavesAnAdapter) {
  const FineTuneOutcome outcome = FineTune(LoraRequest());
  EXPECT_EQ(outcome.steps, 6);
  EXPECT_EQ(outcome.precision, "fp32");
  EXPECT_EQ(outcome.trainable_parameters, 2 * (2 * 16 + 48 * 2));
  EXPECT_THAT(outcome.files, Contains("adapter_config.json"));
  EXPECT_THAT(outcome.files, Contains("adapter_model.safetensors"));
  for (const std::string& file : outcome.files) EXPECT_TRUE(FileExists(Path("out/" + file)));

  ASSERT_EQ(recorder_.steps.size(), 6u);
  ASSERT_EQ(recorder_.evaluations.size(), 2u);
  EXPECT_LT(recorder_.evaluations[1].values["eval/loss"],
            recorder_.evaluations[0].values["eval/loss"]);
  for (const char* name : {"eval/perplexity", "eval/rouge1", "eval/rougeLsum_low",
                           "eval/rougeL_high", "eval/rouge2_precision", "eval/rouge2_recall"}) {
    EXPECT_THAT(recorder_.evaluations[1].values, Contains(Key(name)));
  }
  EXPECT_EQ(recorder_.evaluations[1].num_samples, 3);
  EXPECT_EQ(recorder_.evaluations[1].decoding, "greedy");
  EXPECT_EQ(recorder_.evaluations[1].precision, "fp32");
  EXPECT_EQ(recorder_.evaluations[1].samples_sha256.size(), 64u);
  ASSERT_EQ(recorder_.samples.back().second.size(), 2u);
  EXPECT_EQ(recorder_.samples.back().second[1].reference, "cats 1");
  EXPECT_EQ(recorder_.checkpoints.size(), 4u);  // Before and after each evaluation.
  std::vector<Stage> stages;
  for (const StageEvent& event : recorder_.stages) stages.push_back(event.stage);
  EXPECT_THAT(stages, testing::ElementsAre(Stage::kLoading, Stage::kTraining, Stage::kEvaluating,
                                           Stage::kTraining, Stage::kEvaluating, Stage::kTraining,
                                           Stage::kSaving));
  EXPECT_EQ(recorder_.stages.back().total_steps, 6);
}

TEST_F(FineTuneTest, JsonLinesAndCsvGiveTheSameAdapter) {
  FineTune(LoraRequest("json"));
  FineTuneRequest request = LoraRequest("csv");
  std::string csv = "document,summary\n";
  for (int i = 0; i < 10; ++i) {
    absl::StrAppend(&csv, "the ", i, " cats sat there,cats ", i, "\n");
  }
  request.train.path = folder_.Write("train.csv", csv);
  FineTune(request);
  EXPECT_EQ(*Sha256HexOfFile(Path("json/adapter_model.safetensors")),
            *Sha256HexOfFile(Path("csv/adapter_model.safetensors")));
}

TEST_F(FineTuneTest, ACancelledJobResumesToTheSameAdapter) {
  FineTune(LoraRequest("whole"));
  const std::vector<StepEvent> whole = recorder_.steps;

  FineTuneRequest request = LoraRequest("cut");
  request.config.training.checkpoint_every_steps = 2;
  FineTuneRequest uncut = request;
  // Polls of the data's two files come first, then one a micro-batch.
  StopAtPoll stop(2 + 3 + 1);
  EXPECT_EQ(session_->FineTune(request, recorder_, stop).status().code(),
            absl::StatusCode::kCancelled);
  ASSERT_FALSE(recorder_.checkpoints.empty());
  const CheckpointEvent checkpoint = recorder_.checkpoints.back();

  recorder_.steps.clear();
  request.resume_from = checkpoint.directory;
  ASSERT_TRUE(RemoveTree(request.output_directory).ok());
  FineTune(request);
  ASSERT_FALSE(recorder_.steps.empty());
  EXPECT_EQ(recorder_.steps[0].step, checkpoint.step + 1);
  EXPECT_EQ(recorder_.steps.back().loss, whole.back().loss);
  EXPECT_EQ(*Sha256HexOfFile(Path("whole/adapter_model.safetensors")),
            *Sha256HexOfFile(Path("cut/adapter_model.safetensors")));

  request.output_directory = Path("other");
  request.identity = "another job";
  EXPECT_EQ(FineTuneError(request).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FineTuneTest, AutomaticPrecisionIsThatOfTheCheckpointWhereItCanBeHad) {
  FineTuneRequest request = LoraRequest();
  request.config.training.max_steps = 2;
  request.config.training.checkpoint_every_steps = 1;
  const auto resume = [&](Precision first) {
    recorder_ = RecordingSink();
    request.resume_from.clear();
    request.config.training.precision = first;
    EXPECT_TRUE(RemoveTree(request.output_directory).ok());
    FineTune(request);
    request.resume_from = recorder_.checkpoints.front().directory;
    request.config.training.precision = Precision::kAuto;
    EXPECT_TRUE(RemoveTree(request.output_directory).ok());
    return session_->FineTune(request, recorder_, stop_);
  };
  const absl::StatusOr<FineTuneOutcome> fp32 = resume(Precision::kFp32);
  ASSERT_TRUE(fp32.ok()) << fp32.status();
  EXPECT_EQ(fp32->precision, "fp32");
  const absl::StatusOr<FineTuneOutcome> bf16 = resume(Precision::kBf16);
  if (EngineSession::HasNativeBf16()) {
    ASSERT_TRUE(bf16.ok()) << bf16.status();
    EXPECT_EQ(bf16->precision, "bf16");
  } else {
    EXPECT_EQ(FailureClassOf(bf16.status()), FailureClass::kInfrastructure) << bf16.status();
    EXPECT_THAT(std::string(bf16.status().message()), HasSubstr("made with precision bf16"));
  }
}

TEST_F(FineTuneTest, ATextJobTrainsTheWholeModelIntoAFolder) {
  FineTuneRequest request = LoraRequest();
  request.config.method = MethodConfig();
  request.config.method.Set(FullConfig());
  request.config.data.text_field = "document";
  request.config.data.validation_fraction = 0.3;
  request.config.evaluation.max_samples = 0;
  request.validation = {};
  const FineTuneOutcome outcome = FineTune(request);
  EXPECT_THAT(outcome.files, Contains("model.safetensors"));
  EXPECT_THAT(outcome.files, Contains("tokenizer.json"));
  ASSERT_FALSE(recorder_.evaluations.empty());
  // What came out is a base model again.
  GenerateRequest generate;
  generate.base_model.directory = Path("out");
  generate.prompt = "the";
  generate.max_new_tokens = 4;
  generate.precision = Precision::kFp32;
  EXPECT_TRUE(session_
                  ->Generate(
                      generate, [](int32_t, const std::string&) {}, stop_)
                  .ok());
}

TEST_F(FineTuneTest, AnInitialAdapterOfAnotherScaleIsRefusedByItsField) {
  FineTune(LoraRequest());
  FineTuneRequest request = LoraRequest("next");
  request.init_from_directory = Path("out");
  request.config.method.Get<LoraConfig>().alpha = 17;
  const absl::Status status = FineTuneError(request);
  EXPECT_EQ(FailureClassOf(status), FailureClass::kConfig) << status;
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("init_from: alpha/rank of "));
}

TEST_F(FineTuneTest, RowsThatAreNotFiniteAreNamedAsTheFileHasThem) {
  WriteTinyModel(Path("short model"), TinyConfig(), DivergesFrom(24));
  FineTuneRequest request = LoraRequest();
  request.base_model.directory = Path("short model");
  request.config.training.on_divergence = DivergencePolicy::kRollBack;
  std::string rows = "\n";  // The rows begin at the second line.
  for (int i = 0; i < 10; ++i) {
    const std::string source = i == 7 ? "cats and dogs and cats and dogs and so on" : "cats";
    absl::StrAppend(&rows, "{\"id\": \"r", i, "\", \"document\": \"", source, "\", \"summary\": \"",
                    i == 7 ? "cats and dogs and so on" : "cats", "\"}\n");
  }
  request.train = {folder_.Write("rows.jsonl", rows), "", ""};
  request.validation = {};
  FineTune(request);
  ASSERT_EQ(recorder_.divergences.size(), 1u);
  const DivergenceEvent& event = recorder_.divergences[0];
  EXPECT_EQ(event.action, DivergenceAction::kRolledBack);
  ASSERT_EQ(event.rows.size(), 1u);
  EXPECT_EQ(event.rows[0].row, 7);
  EXPECT_EQ(event.rows[0].line, 9);
  EXPECT_EQ(event.rows[0].id, "r7");
  EXPECT_EQ(event.rows[0].source, "cats and dogs and cats and dogs and so on");
}

TEST_F(FineTuneTest, WarnsAboutRowsThatWereCut) {
  FineTuneRequest request = LoraRequest();
  request.config.data.max_source_tokens = 10;
  FineTune(request);
  const auto truncated = testing::Pair("ROWS_TRUNCATED", testing::_);
  EXPECT_THAT(recorder_.warnings, testing::ElementsAre(truncated, truncated));
  // Of both data sets once: not again by the run that goes on.
  request.resume_from = recorder_.checkpoints.front().directory;
  request.output_directory = Path("resumed");
  recorder_ = RecordingSink();
  FineTune(request);
  EXPECT_THAT(recorder_.warnings, testing::IsEmpty());
}

}  // namespace
}  // namespace graft
