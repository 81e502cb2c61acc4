// What the tests of an engine's session share: one session on a tiny model, with what it tells.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/methods/lora.h"
#include "gtest/gtest.h"
#include "tests/common/text/test_files.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/tiny_model.h"
#include "worker/engine/session/session.h"

namespace graft {

// Removes files once the job has come to a stage, as a worker's cache may.
class RemoveAtStage : public StopToken {
 public:
  RemoveAtStage(const RecordingSink& recorder, Stage stage, std::vector<std::string> paths)
      : recorder_(recorder), stage_(stage), paths_(std::move(paths)) {}
  absl::Status Poll() override {
    if (recorder_.stages.empty() || recorder_.stages.back().stage != stage_) {
      return absl::OkStatus();
    }
    for (const std::string& path : paths_) RemoveTree(path).IgnoreError();
    return absl::OkStatus();
  }

 private:
  const RecordingSink& recorder_;
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
    request.config.method.Get<LoraConfig>().rank = 2;
    TrainingConfig& training = request.config.training;
    training.epochs = 2;
    training.batch_size = 4;
    training.threads = 1;
    training.precision = Precision::kFp32;
    training.learning_rates["lora"] = 1e-2;
    request.config.evaluation.max_samples = 3;
    request.config.evaluation.max_new_tokens = 5;
    request.base_model.directory = Model();
    request.base_model_name = "tiny";
    request.train = WriteRows("train.jsonl", 10);
    request.validation = WriteRows("valid.jsonl", 5);
    request.cache_directory = Path("cache");
    request.output_directory = Path(output);
    request.artifacts_directory = Path(output + "-artifacts");
    request.checkpoint_directory = Path(output + "-checkpoints");
    request.identity = "job";
    return request;
  }

  // Mean over all label tokens of the rows of a row_losses.jsonl.
  double MeanOfRows(const std::string& path, const std::string& field = "loss") {
    double sum = 0, tokens = 0;
    for (const absl::string_view line : absl::StrSplit(ReadWhole(path), '\n', absl::SkipEmpty())) {
      const auto row = nlohmann::json::parse(line);
      sum += row[field].get<double>() * row["tokens"].get<double>();
      tokens += row["tokens"].get<double>();
    }
    return sum / tokens;
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
    request.base_model.directory = Model();
    request.adapter_directory = adapter;
    request.data = tune.validation;
    request.cache_directory = Path("cache");
    request.artifacts_directory = Path("artifacts");
    return request;
  }

  inline static TemporaryFolder* shared_ = nullptr;
  inline static EngineSession* session_ = nullptr;
  const TemporaryFolder folder_;
  RecordingSink recorder_;
  NoStop stop_;
};

}  // namespace graft
