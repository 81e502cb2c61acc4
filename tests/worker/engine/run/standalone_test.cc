#include "worker/engine/run/standalone.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/process_lock.h"
#include "common/base/sha256.h"
#include "tests/common/text/test_files.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/tiny_model.h"
#include "worker/engine/run/result_files.h"

namespace graft {
namespace {

using testing::HasSubstr;

class StandaloneTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(Path("tiny model"));  // A path that is no name.
    std::string rows;
    for (int i = 0; i < 9; ++i) {
      absl::StrAppend(&rows, "{\"document\": \"the ", i, " cats\", \"summary\": \"cat ", i,
                      "\"}\n");
    }
    folder_.Write("rows.jsonl", rows);
  }
  std::string Path(const std::string& name) const { return JoinPath(folder_.path(), name); }

  StandaloneOptions Options(const std::string& out, const std::string& change = "{}") {
    nlohmann::json spec = {
        {"fine_tune",
         {{"base_model", Path("tiny model")},
          {"data",
           {{"train", Path("rows.jsonl")},
            {"validation_fraction", 0.2},
            {"max_source_tokens", 16}}},
          {"method", {{"lora", {{"rank", 2}}}}},
          {"training", {{"epochs", 3}, {"batch_size", 2}, {"precision", "PRECISION_FP32"}}},
          {"evaluation", {{"max_samples", 2}, {"max_new_tokens", 4}}}}}};
    spec.merge_patch(nlohmann::json::parse(change));
    StandaloneOptions options;
    const absl::Status parsed = FromJson(spec.dump(), &options.spec);
    EXPECT_TRUE(parsed.ok()) << parsed;
    options.output = Path(out);
    options.threads = 1;
    return options;
  }
  engine::v1::Finished Run(const StandaloneOptions& options, StopToken& stop) {
    events_.clear();
    return RunStandalone(
        options, [&](const v1::JobEvent& event) { events_.push_back(event); }, stop);
  }
  engine::v1::Finished Run(const StandaloneOptions& options) { return Run(options, no_stop_); }

  const TemporaryFolder folder_;
  std::vector<v1::JobEvent> events_;
  NoStop no_stop_;
};

TEST_F(StandaloneTest, NumbersItsEventsAndPublishesEveryFile) {
  const engine::v1::Finished finished = Run(Options("out"));
  ASSERT_EQ(finished.status().code(), 0) << finished.status().message();
  for (size_t i = 0; i < events_.size(); ++i) {
    EXPECT_EQ(events_[i].sequence(), static_cast<int64_t>(i + 1));
    EXPECT_GT(events_[i].create_time().seconds(), 0);
  }
  EXPECT_EQ(events_.back().state_change().to(), v1::JOB_STATE_SUCCEEDED);
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "README.md",
                           "graft.json", "metrics.jsonl", "trainer_state.json"}) {
    EXPECT_TRUE(FileExists(Path(absl::StrCat("out/adapter/", name)))) << name;
  }
  // 7 rows in batches of 2, three times, and three evaluations.
  const std::vector<std::string> lines =
      absl::StrSplit(ReadWhole(Path("out/adapter/metrics.jsonl")), '\n', absl::SkipEmpty());
  EXPECT_EQ(lines.size(), 12u + 3u);
}

TEST_F(StandaloneTest, TheResolvedSpecNamesHashesAndDefaults) {
  ASSERT_EQ(Run(Options("out")).status().code(), 0);
  const auto graft = nlohmann::json::parse(ReadWhole(Path("out/adapter/graft.json")));
  const auto& spec = graft["resolved_spec"]["fine_tune"];
  EXPECT_EQ(spec["base_model"], "tiny_model");
  EXPECT_EQ(spec["base_model_sha256"], graft["base_model"]["sha256"]);
  EXPECT_EQ(spec["data"]["train_sha256"], *Sha256HexOfFile(Path("rows.jsonl")));
  EXPECT_EQ(spec["data"]["source_field"], "document");
  EXPECT_EQ(spec["method"]["lora"]["learning_rate"], 2e-4);
  EXPECT_EQ(spec["training"]["threads"], 1);
  EXPECT_EQ(spec["output_name"], "out");
  EXPECT_EQ(graft["build"]["code_sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(graft["build"]["libtorch"], "2.11.0");
  EXPECT_FALSE(graft["execution"]["cpu_capability"].get<std::string>().empty());
}

// What a metrics file says, less what depends on the time.
nlohmann::json WithoutTimes(nlohmann::json json) {
  for (const char* key :
       {"wall_time_seconds", "train/tokens_per_second", "train_tokens_per_second"}) {
    if (json.is_object()) json.erase(key);
  }
  for (auto& value : json) {
    if (value.is_structured()) value = WithoutTimes(value);
  }
  return json;
}

std::vector<nlohmann::json> RowsOf(const std::string& path) {
  std::vector<nlohmann::json> rows;
  const std::string text = ReadWhole(path);
  for (const auto line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    rows.push_back(WithoutTimes(nlohmann::json::parse(line)));
  }
  return rows;
}

TEST_F(StandaloneTest, AResumedRunLeavesTheMetricsOfAnUninterruptedOne) {
  ASSERT_EQ(Run(Options("whole")).status().code(), 0);
  StandaloneOptions options = Options("cut", R"({"fine_tune": {"output_name": "whole"}})");
  for (const int polls : {22, 6, 2}) {
    StopAtPoll stop(polls + 1);
    EXPECT_EQ(Run(options, stop).status().code(), static_cast<int>(absl::StatusCode::kCancelled));
    options.resume = true;
  }
  std::ofstream(Path("cut/checkpoints/metrics.events.jsonl"), std::ios::app) << "{\"metr";
  ASSERT_EQ(Run(options).status().code(), 0);

  EXPECT_EQ(RowsOf(Path("cut/adapter/metrics.jsonl")), RowsOf(Path("whole/adapter/metrics.jsonl")));
  EXPECT_EQ(WithoutTimes(ReadJson(Path("cut/adapter/trainer_state.json"))),
            WithoutTimes(ReadJson(Path("whole/adapter/trainer_state.json"))));
  std::vector<int64_t> tensorboard_bytes;  // Its records are of fixed size.
  for (const std::string folder : {"cut/adapter", "whole/adapter"}) {
    const std::vector<std::string> names = *ListDirectory(Path(folder));
    for (const std::string& name : names) {
      if (!absl::StartsWith(name, "events.out.tfevents.")) continue;
      tensorboard_bytes.push_back(*FileSize(JoinPath(Path(folder), name)));
    }
  }
  ASSERT_EQ(tensorboard_bytes.size(), 2u);
  EXPECT_EQ(tensorboard_bytes[0], tensorboard_bytes[1]);
}

TEST_F(StandaloneTest, AnEvaluationThatIsDoneAgainCountsOnce) {
  ASSERT_EQ(Run(Options("whole")).status().code(), 0);
  StandaloneOptions options = Options("cut", R"({"fine_tune": {"output_name": "whole"}})");
  // Killed, as far as a test may, between what an evaluation tells and its place in the checkpoint.
  const engine::v1::Finished killed = RunStandalone(
      options,
      [](const v1::JobEvent& event) {
        if (event.has_evaluation()) throw std::runtime_error("killed by the test");
      },
      no_stop_);
  EXPECT_EQ(killed.status().message(), "killed by the test");
  options.resume = true;
  ASSERT_EQ(Run(options).status().code(), 0);
  EXPECT_TRUE(std::any_of(events_.begin(), events_.end(), [](const v1::JobEvent& event) {
    return event.evaluation().step() == 4;
  })) << "the first evaluation is done again";
  EXPECT_EQ(RowsOf(Path("cut/adapter/metrics.jsonl")), RowsOf(Path("whole/adapter/metrics.jsonl")));
}

// A job with a row that is not finite, from whose first step it goes back to the one before.
class StandaloneRollbackTest : public StandaloneTest {
 protected:
  StandaloneRollbackTest() {
    std::string rows;
    for (int i = 0; i < 9; ++i) {
      const char* const more = i == 4 ? " and dogs and cats and dogs and cats and so on" : "";
      absl::StrAppend(&rows, "{\"document\": \"the ", i, " cats", more, "\", \"summary\": \"cat ",
                      i, more, "\"}\n");
    }
    folder_.Write("a long one.jsonl", rows);
    WriteTinyModel(Path("short model"), TinyConfig(), DivergesFrom(28));
  }
  StandaloneOptions RollbackOptions(const std::string& out) {
    nlohmann::json change = {{"fine_tune",
                              {{"base_model", Path("short model")},
                               {"output_name", "same"},
                               {"evaluation", nullptr},
                               {"data",
                                {{"train", Path("a long one.jsonl")},
                                 {"validation_fraction", nullptr},
                                 {"max_source_tokens", 24},
                                 {"max_target_tokens", 16}}},
                               {"training",
                                {{"batch_size", 1},
                                 {"on_divergence", "DIVERGENCE_POLICY_ROLL_BACK"},
                                 {"checkpoint", {{"every_steps", 2}}}}}}}};
    return Options(out, change.dump());
  }
};

TEST_F(StandaloneRollbackTest, WhatIsDoneAgainCountsOnceInEveryFile) {
  const engine::v1::Finished whole = Run(RollbackOptions("whole"));
  ASSERT_EQ(whole.status().code(), 0) << whole.status().message();
  int64_t back_at = 0, told_before = 0;
  for (const v1::JobEvent& event : events_) {
    if (event.has_metrics() && back_at == 0) told_before = event.metrics().step();
    if (!event.has_divergence()) continue;
    EXPECT_EQ(back_at, 0);
    back_at = event.divergence().step();
    EXPECT_EQ(event.divergence().action(), v1::DIVERGENCE_ACTION_ROLLED_BACK);
    EXPECT_TRUE(std::isnan(event.divergence().loss()));
    EXPECT_NE(ToJson(event, false).find("\"NaN\""), std::string::npos);
  }
  EXPECT_EQ(told_before, back_at - 1);
  std::vector<int64_t> steps;
  for (const nlohmann::json& row : RowsOf(Path("whole/adapter/metrics.jsonl"))) {
    steps.push_back(row.at("step"));
  }
  EXPECT_EQ(steps.size(), 3u * 8u);  // Of nine rows in three passes; that of the row is no step.
  EXPECT_TRUE(std::adjacent_find(steps.begin(), steps.end(), std::greater_equal<>()) ==
              steps.end());

  // Killed at every place, with what it leaves behind read again.
  for (const int polls : {3, 8, 11, 15, 20}) {
    const std::string out = absl::StrCat("cut", polls);
    StopAtPoll stop(polls + 2);
    StandaloneOptions options = RollbackOptions(out);
    EXPECT_EQ(Run(options, stop).status().code(), static_cast<int>(absl::StatusCode::kCancelled));
    options.resume = true;
    ASSERT_EQ(Run(options).status().code(), 0);
    EXPECT_EQ(RowsOf(Path(out + "/adapter/metrics.jsonl")),
              RowsOf(Path("whole/adapter/metrics.jsonl")))
        << polls;
    EXPECT_EQ(WithoutTimes(ReadJson(Path(out + "/adapter/trainer_state.json"))),
              WithoutTimes(ReadJson(Path("whole/adapter/trainer_state.json"))));
    EXPECT_EQ(*Sha256HexOfFile(Path(out + "/adapter/adapter_model.safetensors")),
              *Sha256HexOfFile(Path("whole/adapter/adapter_model.safetensors")));
  }
}

TEST_F(StandaloneTest, ResumesAfterItWasStopped) {
  ASSERT_EQ(Run(Options("whole")).status().code(), 0);
  StopAtPoll stop(23);  // In the third epoch.
  StandaloneOptions options = Options("cut", R"({"fine_tune": {"output_name": "whole"}})");
  EXPECT_EQ(Run(options, stop).status().code(), static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_EQ(events_.back().state_change().to(), v1::JOB_STATE_CANCELLED);
  options.resume = true;
  ASSERT_EQ(Run(options).status().code(), 0);
  int steps = 0;
  for (const v1::JobEvent& event : events_) steps += event.has_metrics();
  EXPECT_GT(steps, 0);
  EXPECT_LT(steps, 12);
  EXPECT_EQ(*Sha256HexOfFile(Path("whole/adapter/adapter_model.safetensors")),
            *Sha256HexOfFile(Path("cut/adapter/adapter_model.safetensors")));
}

TEST_F(StandaloneTest, InitFromSaysWhatTheMethodLeavesOpen) {
  const auto method = [](const std::string& parts) {
    return absl::StrCat(R"({"fine_tune": {"method": )", parts, "}}");
  };
  ASSERT_EQ(Run(Options("first", method(R"({"lora": {"rank": 3, "alpha": 5, "use_rslora": true,
                                             "target_modules": ["mlp.c_fc"], "layers": [0]},
                                    "soft_prompt": {"num_virtual_tokens": 5},
                                    "last_layers": {"num_layers": 1,
                                                    "include_final_norm": false}})")))
                .status()
                .code(),
            0);
  // merge_patch removes what is null.
  const std::string open = R"({"lora": {"rank": null}, "soft_prompt": {}, "last_layers": {}})";
  StandaloneOptions options = Options("second", method(open));
  options.adapter = Path("first/adapter");
  const engine::v1::Finished finished = Run(options);
  ASSERT_EQ(finished.status().code(), 0) << finished.status().message();
  const nlohmann::json spec =
      ReadJson(Path("second/adapter/graft.json"))["resolved_spec"]["fine_tune"]["method"];
  EXPECT_EQ(spec["lora"]["rank"], 3);
  EXPECT_EQ(spec["lora"]["alpha"], 5);
  EXPECT_EQ(spec["lora"]["use_rslora"], true);
  EXPECT_EQ(spec["lora"]["target_modules"], nlohmann::json::array({"mlp.c_fc"}));
  EXPECT_EQ(spec["lora"]["layers"], nlohmann::json::array({0}));
  EXPECT_EQ(spec["soft_prompt"]["num_virtual_tokens"], 5);
  EXPECT_EQ(spec["last_layers"]["num_layers"], 1);
  EXPECT_EQ(spec["last_layers"]["include_final_norm"], false);

  options = Options("third", method(R"({"lora": {"rank": 2}, "soft_prompt": {}})"));
  options.adapter = Path("first/adapter");
  EXPECT_THAT(Run(options).status().message(), HasSubstr("fine_tune.method: is lora+soft_prompt"));
}

// As PEFT's users write them: the adapter of "first" in other words.
class ForeignAdapterTest : public StandaloneTest {
 protected:
  void SetUp() override {
    StandaloneTest::SetUp();
    ASSERT_EQ(Run(Options("first", R"({"fine_tune": {"method": {"lora": {
        "rank": 3, "alpha": 5, "target_modules": ["attn.c_attn", "attn.c_proj"]}}}})"))
                  .status()
                  .code(),
              0);
  }
  // Begins with it, with nothing but `lora: {}`.
  engine::v1::Finished Begin(const nlohmann::json& change) {
    nlohmann::json config = ReadJson(Path("first/adapter/adapter_config.json"));
    config.merge_patch(change);
    folder_.Write("first/adapter/adapter_config.json", config.dump());
    StandaloneOptions options =
        Options("second", R"({"fine_tune": {"method": {"lora": {"rank": null}}}})");
    options.adapter = Path("first/adapter");
    return Run(options);
  }
  nlohmann::json Lora() {
    return ReadJson(
        Path("second/adapter/graft.json"))["resolved_spec"]["fine_tune"]["method"]["lora"];
  }
};

TEST_F(ForeignAdapterTest, InitFromTakesTheShapeThatExcludedModulesLeave) {
  const auto finished =
      Begin({{"target_modules", {"c_attn", "c_proj"}}, {"exclude_modules", {"mlp.c_proj"}}});
  ASSERT_EQ(finished.status().code(), 0) << finished.status().message();
  EXPECT_EQ(Lora()["target_modules"], nlohmann::json({"attn.c_attn", "attn.c_proj"}));
  EXPECT_EQ(Lora()["rank"], 3);
}

TEST_F(ForeignAdapterTest, InitFromTakesTheRankAndAlphaOfPatternsThatAllModulesShare) {
  const auto finished = Begin({{"r", 8},
                               {"lora_alpha", 16},
                               {"rank_pattern", {{"c_attn", 3}, {"c_proj", 3}}},
                               {"alpha_pattern", {{"attn.c_.*", 5}}}});
  ASSERT_EQ(finished.status().code(), 0) << finished.status().message();
  EXPECT_EQ(Lora()["rank"], 3);
  EXPECT_EQ(Lora()["alpha"], 5);
}

TEST_F(ForeignAdapterTest, InitFromRefusesWhatNoMethodSays) {
  const auto finished = Begin({{"alpha_pattern", {{"h.0.attn.c_attn", 6}}}});
  EXPECT_EQ(finished.failure_class(), v1::FAILURE_CLASS_CONFIG);
  EXPECT_THAT(finished.status().message(),
              HasSubstr("spec.fine_tune.init_from: a job cannot begin with adapter: LoRA on "
                        "h.0.attn.c_attn has rank 3 and alpha 6, on h.0.attn.c_proj rank 3 and "
                        "alpha 5, but a method has one rank, one alpha"));
}

TEST_F(StandaloneTest, ResumingAFinishedRunTellsItsResultAgain) {
  ASSERT_EQ(Run(Options("out")).status().code(), 0);
  const std::vector<v1::JobEvent> first = events_;
  const std::string before = *Sha256HexOfFile(Path("out/adapter/graft.json"));
  StandaloneOptions options = Options("out");
  options.resume = true;
  for (int i = 0; i < 2; ++i) {
    const engine::v1::Finished again = Run(options);
    EXPECT_EQ(again.status().code(), 0) << again.status().message();
    ASSERT_EQ(events_.size(), 2u);
    EXPECT_EQ(events_[0].evaluation().step(), again.result().best_step());
    EXPECT_TRUE(events_[0].evaluation().is_best());
    EXPECT_EQ(events_[1].state_change().ShortDebugString(),
              first.back().state_change().ShortDebugString());
    EXPECT_EQ(events_[1].sequence(), 2);
  }
  EXPECT_EQ(*Sha256HexOfFile(Path("out/adapter/graft.json")), before);
  // Without the rows beside the checkpoints it is done all the same.
  ASSERT_TRUE(RemoveTree(Path("out/checkpoints")).ok());
  EXPECT_EQ(Run(options).status().code(), 0);
  EXPECT_EQ(events_.size(), 1u);
  // And with whatever number of threads.
  options.threads = 2;
  EXPECT_EQ(Run(options).status().code(), 0);

  options = Options("out", R"({"fine_tune": {"training": {"epochs": 4}}})");
  options.resume = true;
  const engine::v1::Finished other = Run(options);
  EXPECT_EQ(other.status().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(other.status().message(), HasSubstr("out/adapter: holds the result of another job"));
  EXPECT_THAT(other.status().message(), HasSubstr("fine_tune.training.epochs: 3 -> 4"));
  EXPECT_EQ(other.failure_class(), v1::FAILURE_CLASS_CONFIG);
}

TEST_F(StandaloneTest, OneEngineAtATimeHasTheOutput) {
  ASSERT_TRUE(CreateDirectories(Path("out")).ok());
  auto lock =
      std::make_unique<ProcessLock>(*ProcessLock::Acquire(Path("out/engine.lock"), "this", "test"));
  ASSERT_TRUE(CreateDirectories(Path("out/checkpoints/4")).ok());
  folder_.Write("out/checkpoints/4/state.json", "of the other engine");
  for (const bool resume : {false, true}) {
    StandaloneOptions options = Options("out");
    options.resume = resume;
    const engine::v1::Finished refused = Run(options);
    EXPECT_EQ(refused.status().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
    EXPECT_EQ(
        refused.status().message(),
        absl::StrCat(Path("out"), " is in use by another graft-engine (process ", getpid(), ")"));
    EXPECT_EQ(refused.failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
  }
  EXPECT_TRUE(FileExists(Path("out/checkpoints/4/state.json"))) << "left alone";
  lock.reset();
  EXPECT_EQ(Run(Options("out")).status().code(), 0);
}

// Stops in the step after this one.
class StopAfterStep : public StopToken {
 public:
  StopAfterStep(const std::vector<v1::JobEvent>& events, int64_t step)
      : events_(events), step_(step) {}
  absl::Status Poll() override {
    const bool done = !events_.empty() && events_.back().metrics().step() == step_;
    return done ? absl::CancelledError("stop") : absl::OkStatus();
  }

 private:
  const std::vector<v1::JobEvent>& events_;
  const int64_t step_;
};

class DamagedCheckpointTest : public StandaloneTest {
 protected:
  // A run that was stopped in its third epoch: checkpoints 4 and 8.
  StandaloneOptions Cut() {
    EXPECT_EQ(Run(Options("whole")).status().code(), 0);
    StopAfterStep stop(events_, 9);
    StandaloneOptions options = Options("cut", R"({"fine_tune": {"output_name": "whole"}})");
    EXPECT_EQ(Run(options, stop).status().code(), static_cast<int>(absl::StatusCode::kCancelled));
    EXPECT_THAT(*ListDirectory(Path("cut/checkpoints")),
                testing::ElementsAre("4", "8", "metrics.events.jsonl"));
    options.resume = true;
    return options;
  }
  void Damage(const std::string& file) {
    folder_.Write(absl::StrCat("cut/checkpoints/", file), "damaged");
  }
};

TEST_F(DamagedCheckpointTest, AnOlderOneTakesItsPlaceWithAWarning) {
  const StandaloneOptions options = Cut();
  Damage("8/state.safetensors");
  const engine::v1::Finished finished = Run(options);
  ASSERT_EQ(finished.status().code(), 0) << finished.status().message();
  EXPECT_EQ(events_[0].warning().code(), "CHECKPOINT_DAMAGED");
  EXPECT_GT(events_[0].create_time().seconds(), 0);
  EXPECT_EQ(
      events_[0].warning().text(),
      absl::StrCat("checkpoint ", Path("cut/checkpoints/8"),
                   ": state.safetensors is corrupt: its SHA-256 is not the recorded one; goes "
                   "on from ",
                   Path("cut/checkpoints/4")));
  EXPECT_EQ(*Sha256HexOfFile(Path("whole/adapter/adapter_model.safetensors")),
            *Sha256HexOfFile(Path("cut/adapter/adapter_model.safetensors")));
}

TEST_F(DamagedCheckpointTest, WithoutAGoodOneTheErrorSaysWhatToDo) {
  const StandaloneOptions options = Cut();
  Damage("8/state.json");
  ASSERT_TRUE(RemoveFile(Path("cut/checkpoints/4/SHA256SUMS")).ok());
  const engine::v1::Finished finished = Run(options);
  EXPECT_EQ(finished.status().code(), static_cast<int>(absl::StatusCode::kDataLoss));
  EXPECT_EQ(
      finished.status().message(),
      absl::StrCat("checkpoint ", Path("cut/checkpoints/8"),
                   ": state.json is corrupt: its SHA-256 is not the recorded one; checkpoint ",
                   Path("cut/checkpoints/4"),
                   ": SHA256SUMS is missing; there is no other checkpoint to go on from: put "
                   "one of them back as it was, or begin anew without --resume"));
  EXPECT_TRUE(DirectoryExists(Path("cut/checkpoints/8"))) << "nothing was begun anew";
}

TEST_F(StandaloneTest, DoesNotOverwriteAResult) {
  ASSERT_EQ(Run(Options("out")).status().code(), 0);
  const std::string before = *Sha256HexOfFile(Path("out/adapter/graft.json"));
  const engine::v1::Finished again = Run(Options("out"));
  EXPECT_EQ(again.status().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(*Sha256HexOfFile(Path("out/adapter/graft.json")), before);
}

TEST_F(StandaloneTest, EvaluatesWhatItTrained) {
  ASSERT_EQ(Run(Options("out")).status().code(), 0);
  StandaloneOptions options;
  ASSERT_TRUE(FromJson(R"({"evaluate": {"data": {"max_source_tokens": 16},
                           "evaluation": {"max_new_tokens": 4}}})",
                       &options.spec)
                  .ok());
  options.base_model = Path("tiny model");
  options.adapter = Path("out/adapter");
  options.validation = Path("rows.jsonl");
  options.output = Path("scores");
  options.threads = 1;
  // One that was ended does not stand in the way.
  StopAtPoll stop(4);
  EXPECT_EQ(Run(options, stop).status().code(), static_cast<int>(absl::StatusCode::kCancelled));
  const engine::v1::Finished finished = Run(options);
  ASSERT_EQ(finished.status().code(), 0) << finished.status().message();
  const auto results = nlohmann::json::parse(ReadWhole(Path("scores/artifacts/results.json")));
  EXPECT_EQ(results["num_samples"], 9);
  EXPECT_EQ(results["adapter"]["name"], "adapter");
  EXPECT_TRUE(results["metrics"].contains("lead3/rougeLsum"));
  EXPECT_EQ(results["fingerprint"]["decoding"], "greedy");
  EXPECT_TRUE(FileExists(Path("scores/artifacts/predictions.jsonl")));
  EXPECT_EQ(Run(options).status().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
}

TEST_F(StandaloneTest, EvaluatesSeveralAdaptersInOneRun) {
  ASSERT_EQ(Run(Options("one")).status().code(), 0);
  ASSERT_EQ(Run(Options("two", R"({"fine_tune": {"training": {"seed": 7}}})")).status().code(), 0);
  StandaloneOptions options;
  options.spec.mutable_evaluate()->mutable_evaluation()->set_max_new_tokens(4);
  for (const char* run : {"one", "two"}) {
    options.spec.mutable_evaluate()->add_adapters(Path(absl::StrCat(run, "/adapter/")));
  }
  options.base_model = Path("tiny model");
  options.validation = Path("rows.jsonl");
  options.output = Path("scores");
  options.threads = 1;
  const engine::v1::Finished finished = Run(options);
  ASSERT_EQ(finished.status().code(), 0) << finished.status().message();
  ASSERT_EQ(finished.result().adapters_size(), 2);
  EXPECT_EQ(finished.result().adapters(0).adapter(), "one_adapter");
  EXPECT_TRUE(finished.result().metrics().empty());
  EXPECT_NE(finished.result().adapters(0).metrics().at("eval/loss"),
            finished.result().adapters(1).metrics().at("eval/loss"));
  EXPECT_EQ(finished.result().adapters(1).fingerprint().num_samples(), 9);
  const auto results = ReadJson(Path("scores/artifacts/adapters/two_adapter/results.json"));
  EXPECT_EQ(results["adapter"]["name"], "two_adapter");
  EXPECT_EQ(results["metrics"]["eval/loss"].get<double>(),
            finished.result().adapters(1).metrics().at("eval/loss"));
  EXPECT_TRUE(FileExists(Path("scores/artifacts/adapters/one_adapter/predictions.jsonl")));
  EXPECT_EQ(finished.artifacts_size(), 6);
  EXPECT_EQ(Run(options).status().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  // One that was ended does not stand in the way.
  for (const char* name : {"one_adapter", "two_adapter"}) {
    ASSERT_TRUE(
        RemoveFile(Path(absl::StrCat("scores/artifacts/adapters/", name, "/results.json"))).ok());
  }
  EXPECT_EQ(Run(options).status().code(), 0);
}

TEST_F(StandaloneTest, AnAdapterIsEvaluatedAsItWasTrained) {
  ASSERT_EQ(Run(Options("out", R"({"fine_tune": {"data": {"prompt_template": "{source} =>",
                                                         "max_target_tokens": 9}}})"))
                .status()
                .code(),
            0);
  const auto evaluate = [&](const std::string& out, const std::string& data) {
    StandaloneOptions options;
    EXPECT_TRUE(
        FromJson(absl::StrCat(R"({"evaluate": {"data": )", data, "}}"), &options.spec).ok());
    options.base_model = Path("tiny model");
    options.adapter = Path("out/adapter");
    options.validation = Path("rows.jsonl");
    options.output = Path(out);
    options.threads = 1;
    const engine::v1::Finished finished = Run(options);
    EXPECT_EQ(finished.status().code(), 0) << finished.status().message();
    return ReadJson(Path(out + "/artifacts/results.json"))["resolved_spec"]["evaluate"]["data"];
  };
  nlohmann::json data = evaluate("scores", "{}");
  EXPECT_EQ(data["prompt_template"], "{source} =>");
  EXPECT_EQ(data["max_source_tokens"], 16);
  EXPECT_EQ(data["max_target_tokens"], 9);
  for (const v1::JobEvent& event : events_) EXPECT_NE(event.warning().code(), "NOT_AS_TRAINED");

  data = evaluate("other", R"({"max_source_tokens": 12})");
  EXPECT_EQ(data["max_source_tokens"], 12);
  EXPECT_EQ(events_[0].warning().code(), "NOT_AS_TRAINED");
  EXPECT_THAT(events_[0].warning().text(), HasSubstr("max_source_tokens is 12 instead of 16"));

  ASSERT_TRUE(RemoveFile(Path("out/adapter/graft.json")).ok());
  EXPECT_EQ(evaluate("unknown", "{}")["prompt_template"], "{source}\nTL;DR:");
}

TEST_F(StandaloneTest, ErrorsNameTheFieldAndTheClass) {
  const auto error = [&](const std::string& change) {
    const engine::v1::Finished finished = Run(Options("bad", change));
    EXPECT_NE(finished.status().code(), 0) << change;
    EXPECT_EQ(finished.failure_class(), v1::FAILURE_CLASS_CONFIG) << change;
    EXPECT_EQ(events_.back().state_change().to(), v1::JOB_STATE_FAILED);
    return finished.status().message();
  };
  EXPECT_THAT(error(R"({"fine_tune": {"method": {"lora": {"rank": 0}}}})"), HasSubstr("rank"));
  EXPECT_THAT(error(R"({"fine_tune": {"method": {"lora": {"rank": 17}}}})"), HasSubstr("rank"));
  EXPECT_THAT(error(R"({"fine_tune": {"data": {"max_source_tokens": 48}}})"),
              HasSubstr("max_source_tokens"));
  EXPECT_THAT(error(R"({"fine_tune": {"base_model": "/nowhere/at/all"}})"),
              HasSubstr("/nowhere/at/all"));
  EXPECT_FALSE(DirectoryExists(Path("bad/adapter")));
  StandaloneOptions unknown;
  EXPECT_THAT(std::string(FromJson(R"({"fine_tune": {"metod": {}}})", &unknown.spec).message()),
              HasSubstr("metod"));
}

}  // namespace
}  // namespace graft
