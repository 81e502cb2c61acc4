#include "server/catalogue/event_files.h"

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/base/limits.h"
#include "common/formats/metric_row.h"
#include "common/formats/metrics_jsonl.h"
#include "common/formats/tensorboard.h"
#include "common/formats/trainer_state.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

// More than two pages of the log, and each file more than one piece of a blob.
constexpr int kSteps = 2 * kMaxEventsPerRead + 100;
constexpr int kEvalEvery = 500;
constexpr int kBatch = 300;
constexpr int64_t kBestStep = 1500;

v1::JobEvent Training(int64_t step) {
  v1::JobEvent event;
  event.mutable_metrics()->set_step(step);
  event.mutable_metrics()->set_epoch(static_cast<double>(step) / 100);
  (*event.mutable_metrics()->mutable_values())["train/loss"] = 3 - 1e-3 * static_cast<double>(step);
  (*event.mutable_metrics()->mutable_values())["train/grad_norm"] = 0.5;
  return event;
}

v1::JobEvent Evaluation(int64_t step) {
  v1::JobEvent event;
  event.mutable_evaluation()->set_step(step);
  event.mutable_evaluation()->set_epoch(static_cast<double>(step) / 100);
  (*event.mutable_evaluation()->mutable_values())["eval/loss"] = 1.0 / static_cast<double>(step);
  return event;
}

class EventFilesTest : public ::testing::Test {
 protected:
  // The bytes by path.
  std::map<std::string, std::string> Files(const v1::Job& job, int64_t best_step) {
    const auto made =
        MakeEventFiles(server_.store(), server_.blobs(), job, best_step, [] { return false; });
    EXPECT_TRUE(made.ok()) << made.status();
    std::map<std::string, std::string> files;
    for (const ManifestFile& file : *made) {
      const auto bytes = server_.blobs().Get(file.sha256, 64 << 20);
      EXPECT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_EQ(static_cast<int64_t>(bytes->size()), file.size_bytes) << file.path;
      files[file.path] = *bytes;
    }
    return files;
  }

  TestServer server_;
  FakeWorker worker_{server_};
};

TEST_F(EventFilesTest, ALongLogGivesTheFilesOfAllItsRows) {
  const std::string name = server_.Create(LoraJob())->name();
  const auto lease = worker_.Lease("r1");
  std::vector<v1::JobEvent> events;
  int64_t batch = 0;
  for (int step = 1; step <= kSteps; ++step) {
    events.push_back(Training(step));
    if (step % kEvalEvery == 0) events.push_back(Evaluation(step));
    if (static_cast<int>(events.size()) < kBatch && step < kSteps) continue;
    ASSERT_TRUE(worker_.Report(*lease, ++batch, events).ok());
    events.clear();
  }

  std::vector<MetricRow> rows;
  int64_t after = 0;
  for (auto page = *server_.store().ReadEvents(name, 0, 100); !page.empty();
       page = *server_.store().ReadEvents(name, after, 100)) {
    for (const v1::JobEvent& event : page) {
      const double time =
          static_cast<double>(event.create_time().seconds()) + 1e-9 * event.create_time().nanos();
      const v1::Metrics& step = event.metrics();
      const v1::EvaluationResult& evaluation = event.evaluation();
      if (event.has_metrics()) {
        rows.push_back(
            {step.step(), step.epoch(), time, {step.values().begin(), step.values().end()}});
      }
      if (event.has_evaluation()) {
        rows.push_back({evaluation.step(),
                        evaluation.epoch(),
                        time,
                        {evaluation.values().begin(), evaluation.values().end()}});
      }
      after = event.sequence();
    }
  }
  ASSERT_EQ(rows.size(), static_cast<size_t>(kSteps + kSteps / kEvalEvery));

  const v1::Job job = *server_.Get(name);
  const v1::TrainingSpec& training = job.resolved_spec().fine_tune().training();
  ASSERT_EQ(training.early_stopping().metric(), "eval/loss");
  const auto files = Files(job, kBestStep);
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files.at("metrics.jsonl"), MetricsJsonl(rows));
  EXPECT_EQ(files.at(TensorBoardFileName(rows)), TensorBoardEvents(rows));
  EXPECT_EQ(files.at("trainer_state.json"),
            TrainerStateJson(rows, {.max_steps = 100,
                                    .num_train_epochs = training.epochs(),
                                    .train_batch_size = training.batch_size(),
                                    .eval_steps = training.eval_every_steps(),
                                    .best_metric = 1.0 / kBestStep,
                                    .best_global_step = kBestStep}));
}

TEST_F(EventFilesTest, WhatARollbackUndidIsInNoFile) {
  const auto rollback = [](int64_t step, int64_t back_to) {
    v1::JobEvent event;
    event.mutable_divergence()->set_step(step);
    event.mutable_divergence()->set_loss(std::numeric_limits<double>::quiet_NaN());
    event.mutable_divergence()->set_action(v1::DIVERGENCE_ACTION_ROLLED_BACK);
    event.mutable_divergence()->set_rolled_back_to_step(back_to);
    return event;
  };
  const std::string undone = server_.Create(LoraJob())->name();
  auto lease = worker_.Lease("r1");
  v1::JobEvent other = Training(3);
  (*other.mutable_metrics()->mutable_values())["train/loss"] = 17;
  ASSERT_TRUE(worker_
                  .Report(*lease, 1,
                          {Training(1), Training(2), other, Evaluation(3), rollback(4, 2),
                           Training(3), Training(4), rollback(5, 3), Training(4)})
                  .ok());
  const auto files = Files(*server_.Get(undone), 0);
  const std::vector<std::string> lines =
      absl::StrSplit(files.at("metrics.jsonl"), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 4u);
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto row = nlohmann::json::parse(lines[i]);
    EXPECT_EQ(row.at("step"), i + 1);
    EXPECT_EQ(row.at("train/loss"), 3 - 1e-3 * static_cast<double>(i + 1));
  }
  const auto state = nlohmann::json::parse(files.at("trainer_state.json"));
  EXPECT_EQ(state.at("global_step"), 4);
  EXPECT_EQ(state.at("log_history").size(), 4u);
}

TEST_F(EventFilesTest, AJobWithoutStepsHasEmptyFiles) {
  const std::string name = server_.Create(LoraJob())->name();
  const auto files = Files(*server_.Get(name), 0);
  EXPECT_EQ(files.at("metrics.jsonl"), "");
  EXPECT_EQ(files.at(TensorBoardFileName(std::vector<MetricRow>())), TensorBoardEvents({}));
  ASSERT_EQ(files.count("trainer_state.json"), 1u);
}

}  // namespace
}  // namespace graft
