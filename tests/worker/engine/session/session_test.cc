#include "worker/engine/session/session.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/formats/safetensors.h"
#include "tests/common/text/test_files.h"
#include "tests/worker/engine/tiny_model.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Key;

// Keeps what it is told.
class Recorder : public EventSink {
 public:
  void OnStage(const StageEvent& event) override { stages.push_back(event); }
  void OnStep(const StepEvent& event) override { steps.push_back(event); }
  void OnRows(const RowsEvent& event) override { rows.push_back(event); }
  void OnEvaluation(const EvaluationEvent& event) override { evaluations.push_back(event); }
  void OnCheckpoint(const CheckpointEvent& event) override { checkpoints.push_back(event); }
  void OnSamples(int64_t, const std::vector<SampleTextEvent>& texts) override { samples = texts; }
  void OnWarning(const std::string& code, const std::string&) override { warnings.push_back(code); }

  std::vector<StageEvent> stages;
  std::vector<StepEvent> steps;
  std::vector<RowsEvent> rows;
  std::vector<EvaluationEvent> evaluations;
  std::vector<CheckpointEvent> checkpoints;
  std::vector<SampleTextEvent> samples;
  std::vector<std::string> warnings;
};

class StopAfter : public StopToken {
 public:
  explicit StopAfter(int polls) : left_(polls) {}
  absl::Status Poll() override {
    return left_-- > 0 ? absl::OkStatus() : absl::CancelledError("stop");
  }

 private:
  int left_;
};

// Removes files once the job has come to a stage, as a worker's cache may.
class RemoveAtStage : public StopToken {
 public:
  RemoveAtStage(const Recorder& recorder, Stage stage, std::vector<std::string> paths)
      : recorder_(recorder), stage_(stage), paths_(std::move(paths)) {}
  absl::Status Poll() override {
    if (recorder_.stages.empty() || recorder_.stages.back().stage != stage_) {
      return absl::OkStatus();
    }
    for (const std::string& path : paths_) RemoveTree(path).IgnoreError();
    return absl::OkStatus();
  }

 private:
  const Recorder& recorder_;
  const Stage stage_;
  const std::vector<std::string> paths_;
};

// One session and one tiny model for all tests; a folder for each.
class SessionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryFolder();
    WriteTinyModel(JoinPath(shared_->path(), "model"));
    session_ = EngineSession::Create({"cpu", 1})->release();
  }
  static void TearDownTestSuite() {
    delete session_;
    delete shared_;
  }

  static std::string Model() { return JoinPath(shared_->path(), "model"); }
  std::string Path(const std::string& name) const { return JoinPath(folder_.path(), name); }

  DataSetFile WriteRows(const std::string& name, int count) {
    std::string content;
    for (int i = 0; i < count; ++i) {
      absl::StrAppend(&content, "{\"id\": \"r", i, "\", \"document\": \"the ", i,
                      " cats sat there\", \"summary\": [\"cats ", i, "\", \"the cats\"]}\n");
    }
    return {folder_.Write(name, content), "", name};
  }

  FineTuneRequest LoraRequest(const std::string& output = "out") {
    FineTuneRequest request;
    request.config.data.max_source_tokens = 24;
    request.config.data.max_target_tokens = 12;
    request.config.method.lora.emplace(MethodConfig::Lora()).rank = 2;
    TrainingConfig& training = request.config.training;
    training.epochs = 2;
    training.batch_size = 4;
    training.threads = 1;
    training.precision = Precision::kFp32;
    training.learning_rates.lora = 1e-2;
    request.config.evaluation.max_samples = 3;
    request.config.evaluation.max_new_tokens = 5;
    request.base_model_directory = Model();
    request.base_model_name = "tiny";
    request.train = WriteRows("train.jsonl", 10);
    request.validation = WriteRows("valid.jsonl", 5);
    request.cache_directory = Path("cache");
    request.output_directory = Path(output);
    request.checkpoint_directory = Path(output + "-checkpoints");
    request.identity = "job";
    return request;
  }

  FineTuneOutcome FineTune(const FineTuneRequest& request) {
    auto outcome = session_->FineTune(request, recorder_, stop_);
    if (!outcome.ok()) ADD_FAILURE() << outcome.status();
    return outcome.value_or(FineTuneOutcome());
  }
  absl::Status FineTuneError(const FineTuneRequest& request) {
    return session_->FineTune(request, recorder_, stop_).status();
  }
  EvaluateRequest MakeEvaluateRequest(const std::string& adapter) {
    EvaluateRequest request;
    const FineTuneRequest tune = LoraRequest();
    request.config.data = tune.config.data;
    request.config.evaluation = tune.config.evaluation;
    request.config.evaluation.max_samples = -1;
    request.config.evaluation.untuned_baseline = true;
    request.config.evaluation.generation_batch_size = 2;
    request.config.precision = Precision::kFp32;
    request.config.threads = 1;
    request.base_model_directory = Model();
    request.adapter_directory = adapter;
    request.data = tune.validation;
    request.cache_directory = Path("cache");
    request.artifacts_directory = Path("artifacts");
    return request;
  }

  static TemporaryFolder* shared_;
  static EngineSession* session_;
  const TemporaryFolder folder_;
  Recorder recorder_;
  NoStop stop_;
};

TemporaryFolder* SessionTest::shared_ = nullptr;
EngineSession* SessionTest::session_ = nullptr;

TEST_F(SessionTest, FineTuningTellsWhatHappensAndLeavesAnAdapter) {
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
  EXPECT_EQ(recorder_.evaluations[1].samples_sha256.size(), 64u);
  ASSERT_EQ(recorder_.samples.size(), 2u);
  EXPECT_EQ(recorder_.samples[1].reference, "cats 1");
  EXPECT_EQ(recorder_.checkpoints.size(), 4u);  // Before and after each evaluation.
  std::vector<Stage> stages;
  for (const StageEvent& event : recorder_.stages) stages.push_back(event.stage);
  EXPECT_THAT(stages, testing::ElementsAre(Stage::kLoading, Stage::kTraining, Stage::kEvaluating,
                                           Stage::kTraining, Stage::kEvaluating, Stage::kTraining,
                                           Stage::kSaving));
  EXPECT_EQ(recorder_.stages.back().total_steps, 6);
}

// Keeps how far the pulse had come whenever a stage began.
class PulseAtStages : public Recorder {
 public:
  explicit PulseAtStages(Pulse& pulse) : pulse_(pulse) {}
  void OnStage(const StageEvent& event) override {
    Recorder::OnStage(event);
    counts.push_back(pulse_.count());
  }
  std::vector<int64_t> counts;

 private:
  Pulse& pulse_;
};

// Polls, which a worker's job beats with, are not counted here: this is what is done between them.
TEST_F(SessionTest, EveryStageBeatsThePulse) {
  NoStop stop;
  PulseAtStages recorder(stop.pulse());
  FineTuneRequest request = LoraRequest();
  request.config.training.checkpoint_every_steps = 1;
  ASSERT_TRUE(session_->FineTune(request, recorder, stop).ok());
  recorder.counts.push_back(stop.pulse().count());
  ASSERT_EQ(recorder.stages.size(), 7u);  // As told above, and saving.
  for (size_t i = 0; i < recorder.stages.size(); ++i) {
    if (i == 5) continue;  // Nothing is trained after the last evaluation.
    EXPECT_LT(recorder.counts[i], recorder.counts[i + 1]) << "stage " << i;
  }

  PulseAtStages evaluating(stop.pulse());
  EvaluateRequest evaluate = MakeEvaluateRequest(Path("out"));
  evaluate.cache_directory = Path("empty");  // The model is there; so that rows are to be loaded.
  ASSERT_TRUE(session_->Evaluate(evaluate, evaluating, stop).ok());
  evaluating.counts.push_back(stop.pulse().count());
  ASSERT_EQ(evaluating.counts.size(), 3u);
  EXPECT_LT(evaluating.counts[0], evaluating.counts[1]);
  EXPECT_LT(evaluating.counts[1], evaluating.counts[2]);
}

TEST_F(SessionTest, AnEvaluationOfTheAdapterRepeatsItsLoss) {
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
  ASSERT_EQ(recorder_.samples.size(), 3u);
  EXPECT_EQ(recorder_.samples[2].row, 2);
  EXPECT_EQ(recorder_.samples[2].reference, "cats 2");

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

TEST_F(SessionTest, AnEvaluationTellsTheRowsOfEachOfItsPasses) {
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

TEST_F(SessionTest, TheUntunedModelIsEvaluatedWithoutAdapter) {
  EvaluateRequest request = MakeEvaluateRequest("");
  const auto outcome = session_->Evaluate(request, recorder_, stop_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->result.values.count("untuned/loss"), 0u);
  EXPECT_EQ(outcome->trainable_parameters, 0);
}

TEST_F(SessionTest, JsonLinesAndCsvGiveTheSameAdapter) {
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

TEST_F(SessionTest, ACancelledJobResumesToTheSameAdapter) {
  FineTune(LoraRequest("whole"));
  const std::vector<StepEvent> whole = recorder_.steps;

  FineTuneRequest request = LoraRequest("cut");
  request.config.training.checkpoint_every_steps = 2;
  FineTuneRequest uncut = request;
  // Polls of the data's two files come first, then one a micro-batch.
  StopAfter stop(2 + 3);
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

TEST_F(SessionTest, AutomaticPrecisionIsThatOfTheCheckpointWhereItCanBeHad) {
  FineTuneRequest request = LoraRequest();
  request.config.training.max_steps = 2;
  request.config.training.checkpoint_every_steps = 1;
  const auto resume = [&](Precision first) {
    recorder_ = Recorder();
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

TEST_F(SessionTest, ATextJobTrainsTheWholeModelIntoAFolder) {
  FineTuneRequest request = LoraRequest();
  request.config.method = MethodConfig();
  request.config.method.full = true;
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
  generate.base_model_directory = Path("out");
  generate.prompt = "the";
  generate.max_new_tokens = 4;
  generate.precision = Precision::kFp32;
  EXPECT_TRUE(session_
                  ->Generate(
                      generate, [](int32_t, const std::string&) {}, stop_)
                  .ok());
}

TEST_F(SessionTest, GenerateGivesTextTokenByToken) {
  GenerateRequest request;
  request.base_model_directory = Model();
  request.prompt = "the cats sat there and then the cats sat there again";
  request.max_new_tokens = 30;
  request.precision = Precision::kFp32;
  std::string text;
  int64_t tokens = 0;
  const auto outcome = session_->Generate(
      request,
      [&](int32_t id, const std::string& piece) {
        text += piece;
        tokens += id >= 0;
      },
      stop_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->new_tokens, tokens);
  EXPECT_EQ(tokens, 30);
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(outcome->prompt_tokens, 18);  // n_positions 48 less 30.
  EXPECT_GT(outcome->prompt_tokens_cut, 0);
  request.max_new_tokens = 48;
  const absl::Status none = session_
                                ->Generate(
                                    request, [](int32_t, const std::string&) {}, stop_)
                                .status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.message()), HasSubstr("max_new_tokens"));
}

TEST_F(SessionTest, AShortModelGeneratesHalfOfWhatItHasRoomFor) {
  GenerateRequest request;
  request.base_model_directory = Model();
  request.prompt = "the cats sat there and then the cats sat there again and then they sat";
  request.precision = Precision::kFp32;
  const auto generate = [&] {
    return session_->Generate(
        request, [](int32_t, const std::string&) {}, stop_);
  };
  auto outcome = generate();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->new_tokens, 24);  // Of 48 positions.
  EXPECT_EQ(outcome->prompt_tokens, 24);
  request.prompt_template = "{source}\nTL;DR:";
  outcome = generate();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->prompt_tokens, 24);
  // What leaves no room for the template is said by the field of this request.
  request.max_new_tokens = 47;
  EXPECT_THAT(std::string(generate().status().message()),
              testing::StartsWith("max_new_tokens: only 1 position is left for the prompt, whose "
                                  "template alone takes "));
}

TEST_F(SessionTest, AnErrorOfAnAdapterNamesItsFileOnce) {
  FineTune(LoraRequest());
  ASSERT_TRUE(WriteFileAtomically(Path("out/adapter_config.json"), "no JSON").ok());
  LogitsRequest request;
  request.base_model_directory = Model();
  request.adapter_directory = Path("out");
  const std::string error(session_->DumpLogits(request, stop_).message());
  EXPECT_EQ(error.find(Path("out/adapter_config.json")), 0u) << error;
  EXPECT_EQ(error.rfind(Path("out")), 0u) << error;
}

TEST_F(SessionTest, LogitsOfATrainedAdapterDifferFromTheBase) {
  FineTune(LoraRequest());
  LogitsRequest request;
  request.base_model_directory = Model();
  request.rows = {{1, 2, 3}, {5}};
  request.output_file = Path("base.safetensors");
  ASSERT_TRUE(session_->DumpLogits(request, stop_).ok());
  request.adapter_directory = Path("out");
  request.output_file = Path("tuned.safetensors");
  ASSERT_TRUE(session_->DumpLogits(request, stop_).ok());
  const auto tuned = SafetensorsFile::Open(Path("tuned.safetensors"));
  ASSERT_TRUE(tuned.ok());
  EXPECT_THAT(tuned->Find("logits.0")->shape, testing::ElementsAre(3, 512));
  EXPECT_NE(ReadWhole(Path("base.safetensors")), ReadWhole(Path("tuned.safetensors")));
}

TEST_F(SessionTest, FailuresCarryTheirClass) {
  FineTuneRequest broken = LoraRequest();
  broken.train.path =
      folder_.Write("broken.jsonl", "{\"document\": \"a\", \"summary\": \"b\"}\n{]\n");
  const absl::Status data = FineTuneError(broken);
  EXPECT_EQ(FailureClassOf(data), FailureClass::kData) << data;
  EXPECT_THAT(std::string(data.message()), HasSubstr("line 2"));

  FineTuneRequest rank = LoraRequest("rank");
  rank.config.method.lora->rank = 17;
  const absl::Status config = FineTuneError(rank);
  EXPECT_EQ(FailureClassOf(config), FailureClass::kConfig) << config;
  EXPECT_THAT(std::string(config.message()), HasSubstr("rank"));

  FineTuneRequest diverging = LoraRequest("diverging");
  diverging.config.training.learning_rates.lora = 1e30;
  const absl::Status diverged = FineTuneError(diverging);
  EXPECT_EQ(FailureClassOf(diverged), FailureClass::kDiverged) << diverged;
  EXPECT_FALSE(FileExists(Path("diverging/adapter_model.safetensors")));

  FineTuneRequest missing = LoraRequest("missing");
  missing.base_model_directory = Path("nowhere");
  EXPECT_EQ(FineTuneError(missing).code(), absl::StatusCode::kNotFound);
}

TEST_F(SessionTest, InputsMayVanishOnceTheWorkHasBegun) {
  FineTuneRequest request = LoraRequest();
  RemoveAtStage training(recorder_, Stage::kTraining,
                         {request.train.path, request.validation.path});
  const auto tuned = session_->FineTune(request, recorder_, training);
  ASSERT_TRUE(tuned.ok()) << tuned.status();
  EXPECT_EQ(tuned->best.num_samples, 3);
  EXPECT_FALSE(FileExists(request.train.path));

  EvaluateRequest evaluate = MakeEvaluateRequest(Path("out"));
  RemoveAtStage evaluating(recorder_, Stage::kEvaluating, {evaluate.data.path, Path("out")});
  recorder_.stages.clear();
  const auto evaluated = session_->Evaluate(evaluate, recorder_, evaluating);
  ASSERT_TRUE(evaluated.ok()) << evaluated.status();
  EXPECT_EQ(evaluated->result.num_samples, 5);
  EXPECT_FALSE(FileExists(evaluate.data.path));

  WriteTinyModel(Path("base"));
  request = LoraRequest("full");
  request.base_model_directory = Path("base");
  request.config.method = MethodConfig();
  request.config.method.full = true;
  RemoveAtStage writing(recorder_, Stage::kTraining, {Path("base")});
  recorder_.stages.clear();
  const auto full = session_->FineTune(request, recorder_, writing);
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_THAT(full->files, Contains("tokenizer.json"));
  EXPECT_TRUE(FileExists(Path("full/tokenizer.json")));
}

TEST_F(SessionTest, AnInitialAdapterOfAnotherScaleIsRefusedByItsField) {
  FineTune(LoraRequest());
  FineTuneRequest request = LoraRequest("next");
  request.init_from_directory = Path("out");
  request.config.method.lora->alpha = 17;
  const absl::Status status = FineTuneError(request);
  EXPECT_EQ(FailureClassOf(status), FailureClass::kConfig) << status;
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("init_from: alpha/rank of "));
}

TEST_F(SessionTest, LengthsThatLeaveNoRoomForAPromptAreRefusedBeforeAnyWork) {
  FineTuneRequest request = LoraRequest();
  request.config.method.soft_prompt.emplace(MethodConfig::SoftPrompt()).num_virtual_tokens = 4;
  request.config.evaluation.max_new_tokens = 43;  // Of the 44 positions that are left.
  const absl::Status tuning = FineTuneError(request);
  EXPECT_EQ(FailureClassOf(tuning), FailureClass::kConfig) << tuning;
  EXPECT_THAT(std::string(tuning.message()), HasSubstr("evaluation.max_new_tokens: 43 "));
  EXPECT_TRUE(recorder_.steps.empty());
  request.config.evaluation.max_samples = 0;
  request.output_directory = Path("without texts");
  FineTune(request);

  EvaluateRequest evaluate = MakeEvaluateRequest("");
  evaluate.config.evaluation.max_new_tokens = 47;
  recorder_.stages.clear();
  const absl::Status evaluating = session_->Evaluate(evaluate, recorder_, stop_).status();
  EXPECT_THAT(std::string(evaluating.message()), HasSubstr("evaluation.max_new_tokens: 47 "));
  EXPECT_EQ(recorder_.stages.size(), 1u) << "the loss pass must not have begun";
}

TEST_F(SessionTest, WarnsAboutRowsThatWereCut) {
  FineTuneRequest request = LoraRequest();
  request.config.data.max_source_tokens = 10;
  FineTune(request);
  EXPECT_THAT(recorder_.warnings, testing::ElementsAre("ROWS_TRUNCATED", "ROWS_TRUNCATED"));
  // Of both data sets once: not again by the run that goes on.
  request.resume_from = recorder_.checkpoints.front().directory;
  request.output_directory = Path("resumed");
  recorder_ = Recorder();
  FineTune(request);
  EXPECT_THAT(recorder_.warnings, testing::IsEmpty());
}

}  // namespace
}  // namespace graft
