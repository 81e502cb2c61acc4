#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/methods/full.h"
#include "common/methods/lora.h"
#include "tests/worker/engine/session/session_fixture.h"
#include "tests/worker/engine/session/texts.h"
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

TEST_F(FineTuneTest, EachRowHasItsLossAtTheBestStep) {
  FineTuneRequest request = LoraRequest();
  request.config.training.learning_rates["lora"] = 0.3;  // The best is not the last.
  request.config.training.epochs = 6;
  request.config.training.early_stopping.patience = 0;
  const FineTuneOutcome outcome = FineTune(request);
  ASSERT_LT(outcome.best_step, outcome.steps);
  EXPECT_THAT(outcome.artifacts, testing::ElementsAre("row_losses.jsonl"));
  EXPECT_NEAR(MeanOfRows(Path("out-artifacts/row_losses.jsonl")),
              outcome.best.values.at("eval/loss"), 1e-6);
  FineTuneRequest without = LoraRequest("without");
  without.validation = {};
  EXPECT_THAT(FineTune(without).artifacts, testing::IsEmpty());
}

TEST_F(FineTuneTest, HeldOutRowsAreThoseOfTheirFile) {
  FineTuneRequest request = LoraRequest();
  request.validation = {};
  request.config.data.validation_fraction = 0.3;
  const FineTuneOutcome outcome = FineTune(request);
  const std::string path = Path("out-artifacts/row_losses.jsonl");
  const std::vector<std::string> lines = absl::StrSplit(ReadWhole(path), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  for (const std::string& line : lines) {
    const auto row = nlohmann::json::parse(line);
    EXPECT_EQ(row["id"], absl::StrCat("r", row["row"].get<int>()));
    EXPECT_EQ(row["line"], row["row"].get<int>() + 1);
  }
  EXPECT_NEAR(MeanOfRows(path), outcome.best.values.at("eval/loss"), 1e-6);
}

TEST_F(FineTuneTest, TrainingRowsHaveTheirLossesByThePublishedTensors) {
  FineTuneRequest request = LoraRequest();
  request.config.training.learning_rates["lora"] = 0.3;  // The best is not the last.
  request.config.training.epochs = 6;
  request.config.training.early_stopping.patience = 0;
  request.config.evaluation.train_row_losses = true;
  const FineTuneOutcome outcome = FineTune(request);
  ASSERT_LT(outcome.best_step, outcome.steps);
  EXPECT_THAT(outcome.artifacts,
              testing::ElementsAre("row_losses.jsonl", "train_row_losses.jsonl"));
  EXPECT_EQ(recorder_.rows.back().done, 10);
  EXPECT_EQ(recorder_.rows.back().total, 10);

  EvaluateRequest evaluate = MakeEvaluateRequest(request.output_directory);
  evaluate.data = request.train;
  evaluate.config.batch_size = request.config.training.batch_size;
  evaluate.config.evaluation.max_samples = 0;
  evaluate.config.evaluation.untuned_baseline = false;
  ASSERT_TRUE(session_->Evaluate(evaluate, recorder_, stop_).ok());
  const std::string losses = ReadWhole(Path("artifacts/row_losses.jsonl"));
  EXPECT_NE(losses, "");
  EXPECT_EQ(ReadWhole(Path("out-artifacts/train_row_losses.jsonl")), losses);
}

TEST_F(FineTuneTest, TrainingRowsAreThoseThatTrain) {
  FineTuneRequest request = LoraRequest();
  request.validation = {};
  request.config.data.validation_fraction = 0.3;
  request.config.data.max_train_rows = 8;
  request.config.evaluation.train_row_losses = true;
  FineTune(request);
  const auto rows_of = [&](const std::string& name) {
    std::vector<int> rows;
    const std::string content = ReadWhole(Path("out-artifacts/" + name));
    for (const absl::string_view line : absl::StrSplit(content, '\n', absl::SkipEmpty())) {
      rows.push_back(nlohmann::json::parse(line)["row"].get<int>());
    }
    return rows;
  };
  std::vector<int> all = rows_of("train_row_losses.jsonl");
  EXPECT_EQ(all.size(), 5u);
  for (const int row : rows_of("row_losses.jsonl")) all.push_back(row);
  EXPECT_THAT(all, testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

// While the losses of the training rows are computed, from the given poll on (1: the first), in a
// run that has no other evaluation.
class PauseAmongTheTrainingRows : public StopToken {
 public:
  PauseAmongTheTrainingRows(const RecordingSink& sink, int poll) : sink_(sink), left_(poll) {}
  absl::Status Poll() override {
    const bool there = !sink_.stages.empty() && sink_.stages.back().stage == Stage::kEvaluating;
    return there && --left_ <= 0 ? PausedStatus() : absl::OkStatus();
  }

 private:
  const RecordingSink& sink_;
  int left_;
};

TEST_F(FineTuneTest, LossesOfTrainingRowsThatArePausedCostNoTraining) {
  FineTuneRequest request = LoraRequest();
  request.validation = {};
  request.config.training.checkpoint_every_steps = 4;  // The last of six has none by itself.
  request.config.evaluation.train_row_losses = true;
  EXPECT_THAT(FineTune(request).artifacts, testing::ElementsAre("train_row_losses.jsonl"));
  const std::string adapter = *Sha256HexOfFile(Path("out/adapter_model.safetensors"));
  const std::string losses = ReadWhole(Path("out-artifacts/train_row_losses.jsonl"));
  for (const int poll : {1, 3}) {
    for (const auto& folder :
         {request.output_directory, request.artifacts_directory, request.checkpoint_directory}) {
      ASSERT_TRUE(RemoveTree(folder).ok());
    }
    request.resume_from.clear();
    RecordingSink first, second;
    PauseAmongTheTrainingRows pause(first, poll);
    ASSERT_TRUE(IsPaused(session_->FineTune(request, first, pause).status()));
    EXPECT_FALSE(FileExists(Path("out-artifacts/train_row_losses.jsonl")));
    ASSERT_EQ(first.checkpoints.back().step, 6);
    request.resume_from = first.checkpoints.back().directory;
    const auto rest = session_->FineTune(request, second, stop_);
    ASSERT_TRUE(rest.ok()) << rest.status();
    EXPECT_THAT(second.steps, testing::IsEmpty());
    EXPECT_EQ(*Sha256HexOfFile(Path("out/adapter_model.safetensors")), adapter);
    EXPECT_EQ(ReadWhole(Path("out-artifacts/train_row_losses.jsonl")), losses);
  }
}

TEST_F(FineTuneTest, BlocksOfPlainTextHaveTheirLosses) {
  FineTuneRequest request = LoraRequest();
  request.validation = {};
  request.config.data.text_field = "document";
  request.config.evaluation.train_row_losses = true;
  FineTune(request);
  const std::string losses = ReadWhole(Path("out-artifacts/train_row_losses.jsonl"));
  EXPECT_THAT(losses, testing::StartsWith("{\"row\":0,\"line\":1,\"tokens\":"));
  EXPECT_THAT(losses, testing::Not(HasSubstr("source")));
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
  EXPECT_EQ(ReadWhole(Path("whole-artifacts/row_losses.jsonl")),
            ReadWhole(Path("cut-artifacts/row_losses.jsonl")));

  request.output_directory = Path("other");
  request.identity = "another job";
  EXPECT_EQ(FineTuneError(request).code(), absl::StatusCode::kFailedPrecondition);
}

// The part of the last checkpoint that is told of which an evaluation kept; empty: none.
std::string KeptBy(const RecordingSink& sink) {
  if (sink.checkpoints.empty()) return "";
  const std::string name = sink.checkpoints.back().files.back().path;
  return name.starts_with("evaluation-") ? name : "";
}

TEST_F(FineTuneTest, AnEvaluationThatIsPausedGoesOnWhereItWas) {
  FineTuneRequest request = LoraRequest();
  request.validation = WriteRows("many.jsonl", 18);
  request.config.training.epochs = 1;
  request.config.evaluation.max_samples = -1;
  request.config.evaluation.generation_batch_size = 1;
  request.config.evaluation.sample_events = 16;
  RecordingSink whole;
  ASSERT_TRUE(session_->FineTune(request, whole, stop_).ok());
  const std::string adapter = *Sha256HexOfFile(Path("out/adapter_model.safetensors"));
  const std::string row_losses = ReadWhole(Path("out-artifacts/row_losses.jsonl"));
  const auto renew = [&] {
    ASSERT_TRUE(RemoveTree(request.output_directory).ok());
    request.resume_from.clear();
  };

  int64_t kept = 0, kept_texts = 0;
  for (int64_t poll = 6;; poll += 3) {
    renew();
    ASSERT_TRUE(RemoveTree(request.checkpoint_directory).ok());
    RecordingSink first, second;
    PauseAtPoll pause(poll);
    const absl::Status paused = session_->FineTune(request, first, pause).status();
    if (paused.ok()) break;
    ASSERT_TRUE(IsPaused(paused)) << paused;
    renew();
    const std::string evaluated = KeptBy(first);
    if (first.checkpoints.empty()) continue;
    // Where it was, or laid out elsewhere, as a worker does.
    request.resume_from = first.checkpoints.back().directory;
    if (poll % 2 == 0) {
      request.resume_from = Path("begun");
      ASSERT_TRUE(RemoveTree(request.resume_from).ok());
      ASSERT_TRUE(RenameAndSync(first.checkpoints.back().directory, request.resume_from).ok());
    }
    const auto rest = session_->FineTune(request, second, stop_);
    ASSERT_TRUE(rest.ok()) << rest.status();
    ASSERT_EQ(second.evaluations.size(), 1u);
    EXPECT_EQ(second.evaluations[0].values, whole.evaluations[0].values) << poll;
    EXPECT_EQ(second.evaluations[0].samples_sha256, whole.evaluations[0].samples_sha256);
    EXPECT_EQ(second.evaluations[0].truncated_sources, whole.evaluations[0].truncated_sources);
    EXPECT_EQ(second.samples.back().second.size(), 16u);
    EXPECT_EQ(*Sha256HexOfFile(Path("out/adapter_model.safetensors")), adapter);
    EXPECT_EQ(ReadWhole(Path("out-artifacts/row_losses.jsonl")), row_losses) << poll;
    EXPECT_EQ(KeptBy(second), "") << "the evaluation takes its place";
    if (evaluated.empty()) continue;
    ++kept;
    kept_texts += evaluated == "evaluation-26.jsonl" || evaluated == "evaluation-34.jsonl";
    EXPECT_LT(second.rows.size(), whole.rows.size()) << "what was done is not done again";
  }
  EXPECT_GT(kept, 10);
  EXPECT_GT(kept_texts, 5);
}

// Once rows are evaluated.
class PauseInTheEvaluation : public StopToken {
 public:
  explicit PauseInTheEvaluation(const RecordingSink& sink) : sink_(sink) {}
  absl::Status Poll() override {
    return !sink_.rows.empty() && sink_.rows.back().done > 0 ? PausedStatus() : absl::OkStatus();
  }

 private:
  const RecordingSink& sink_;
};

// Once the training is over.
class PauseAtTheEnd : public StopToken {
 public:
  explicit PauseAtTheEnd(const RecordingSink& sink) : sink_(sink) {}
  absl::Status Poll() override {
    if (sink_.stages.empty() || sink_.stages.back().stage != Stage::kSaving) {
      return absl::OkStatus();
    }
    ++asked_;
    return PausedStatus();
  }
  int asked() const { return asked_; }

 private:
  const RecordingSink& sink_;
  int asked_ = 0;
};

TEST_F(FineTuneTest, LossesOfRowsThatTheBestEvaluationLeftAreNotComputedAgain) {
  FineTuneRequest request = LoraRequest();
  RecordingSink whole, resumed;
  PauseAtTheEnd at_once(whole);
  ASSERT_TRUE(session_->FineTune(request, whole, at_once).ok());
  EXPECT_EQ(at_once.asked(), 0);
  const std::string row_losses = ReadWhole(Path("out-artifacts/row_losses.jsonl"));

  // This run has not evaluated: for its losses there is one pass, and for a pause it is too late.
  request.resume_from = whole.checkpoints.back().directory;
  ASSERT_TRUE(RemoveTree(request.output_directory).ok());
  ASSERT_TRUE(RemoveTree(request.artifacts_directory).ok());
  PauseAtTheEnd once(resumed);
  const auto outcome = session_->FineTune(request, resumed, once);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(resumed.evaluations, testing::IsEmpty());
  EXPECT_EQ(once.asked(), 2) << "five rows, four in a batch";
  EXPECT_EQ(ReadWhole(Path("out-artifacts/row_losses.jsonl")), row_losses);
}

TEST_F(FineTuneTest, AnEvaluationThatCannotGoOnBeginsAnew) {
  FineTuneRequest request = LoraRequest();
  request.config.training.epochs = 1;
  request.config.training.batch_size = 2;
  request.earlier_identity = "spec";
  RecordingSink whole, first;
  ASSERT_TRUE(session_->FineTune(request, whole, stop_).ok());
  ASSERT_TRUE(RemoveTree(request.output_directory).ok());
  ASSERT_TRUE(RemoveTree(request.checkpoint_directory).ok());
  PauseInTheEvaluation pause(first);
  ASSERT_TRUE(IsPaused(session_->FineTune(request, first, pause).status()));
  ASSERT_NE(KeptBy(first), "");
  request.resume_from = Path("begun");
  ASSERT_TRUE(RenameAndSync(first.checkpoints.back().directory, request.resume_from).ok());
  const auto expect_all_rows = [&](const std::string& why) {
    RecordingSink sink;
    ASSERT_TRUE(RemoveTree(request.output_directory).ok());
    const auto outcome = session_->FineTune(request, sink, stop_);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(sink.rows.size(), whole.rows.size()) << why;
    EXPECT_EQ(sink.evaluations[0].values, whole.evaluations[0].values) << why;
  };
  request.earlier_identity = "a spec that evaluates otherwise";
  expect_all_rows("another evaluation");
  request.earlier_identity = "spec";
  const std::string path = JoinPath(request.resume_from, KeptBy(first));
  ASSERT_TRUE(WriteFileAtomically(path, ReadWhole(path).substr(0, 50)).ok());
  expect_all_rows("a broken record");
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
  EXPECT_TRUE(MakeText(*session_, generate).end->ok());
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
