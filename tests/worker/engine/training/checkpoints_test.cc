#include "worker/engine/training/checkpoints.h"

#include <gmock/gmock.h>

#include <map>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "tests/worker/engine/golden.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"
#include "worker/engine/training/trainer.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(CheckpointsTest, WhatAnEvaluationLeftIsTheFileWithTheMostRows) {
  const std::string checkpoint = FreshDirectory("files");
  EXPECT_EQ(FindEvaluationFile(checkpoint), "");
  for (const char* name : {"evaluation-9.jsonl", "evaluation-10.jsonl", "evaluation-11.jsonl.tmp",
                           "evaluation-x.jsonl", "evaluation.jsonl", "state.json"}) {
    ASSERT_TRUE(WriteFileAtomically(JoinPath(checkpoint, name), "").ok());
  }
  EXPECT_EQ(FindEvaluationFile(checkpoint), JoinPath(checkpoint, EvaluationFileName(10)));
  EXPECT_EQ(FindEvaluationFile(JoinPath(checkpoint, "none")), "");
}

TEST(CheckpointsTest, ACheckpointIsKeptBesideThoseOfLaterSteps) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.max_steps = 5;
  options.config.checkpoint_every_steps = 1;
  options.config.checkpoint_keep_last = 5;
  options.checkpoint_directory = FreshDirectory("later");
  RecordingSink sink;
  NoStop stop;
  ASSERT_TRUE(
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), nullptr, sink, stop).ok());
  // The newest ones turned out to be unreadable, say.
  options.resume_from = options.checkpoint_directory + "/1";
  options.config.checkpoint_keep_last = 1;
  StopAtPoll after_a_step(2);
  const absl::Status stopped =
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), nullptr, sink, after_a_step)
          .status();
  ASSERT_EQ(stopped.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(*ListDirectory(options.checkpoint_directory), ElementsAre("1", "2", "3", "4", "5"));
  EXPECT_TRUE(DirectoryExists(sink.checkpoints.back().directory));
}

// Each look at the clock takes a second: a step that has one micro-batch a few, a checkpoint one.
class TickingClock : public FakeClock {
 public:
  absl::Duration Boottime() override {
    Advance(absl::Seconds(1));
    return FakeClock::Boottime();
  }
};

// Seconds between the checkpoints of a run on such a clock that has them by time alone.
std::vector<int64_t> SecondsBetweenCheckpoints(double every_seconds) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.max_steps = 60;
  options.config.checkpoint_every_steps = 1'000'000;
  options.config.checkpoint_every_seconds = every_seconds;
  options.checkpoint_directory = FreshDirectory("by_time");
  TickingClock clock;
  class Sink : public RecordingSink {
   public:
    explicit Sink(FakeClock& clock) : clock_(clock) {}
    void OnCheckpoint(const CheckpointEvent&) override {
      times.push_back(absl::ToInt64Seconds(clock_.FakeClock::Boottime()));
    }
    std::vector<int64_t> times;

   private:
    FakeClock& clock_;
  } sink(clock);
  NoStop stop;
  const auto adapter = MakeAdapter(*model, OnlyLora());
  EXPECT_TRUE(Train(options, GoldenRows(), *adapter, nullptr, sink, stop, clock).ok());
  std::vector<int64_t> between;
  for (size_t i = 1; i < sink.times.size(); ++i) {
    between.push_back(sink.times[i] - sink.times[i - 1]);
  }
  return between;
}

// Takes half a minute for each of 20 rows.
class SlowEvaluator : public Evaluator {
 public:
  explicit SlowEvaluator(FakeClock& clock) : clock_(clock) {}
  absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network&, int64_t step,
                                           EvaluationKeeper& keeper, StopToken&) override {
    EXPECT_EQ(keeper.Left(), "");
    for (int64_t rows = 1; rows <= 20; ++rows) {
      clock_.Advance(absl::Seconds(30));
      const absl::Status kept =
          keeper.Keep(false, [&](const std::string& directory) -> absl::StatusOr<CheckpointFile> {
            kept_rows[step].push_back(rows);
            const std::string name = EvaluationFileName(rows);
            const absl::Status written = WriteFileAtomically(JoinPath(directory, name), "rows");
            if (!written.ok()) return written;
            return CheckpointFile{name, 4, Sha256Hex("rows")};
          });
      EXPECT_TRUE(kept.ok()) << kept;
      if (!kept_rows[step].empty()) {
        EXPECT_EQ(BaseName(keeper.Left()), EvaluationFileName(kept_rows[step].back()));
      }
    }
    EvaluationEvent event;
    event.values["eval/loss"] = 1;
    return event;
  }
  std::map<int64_t, std::vector<int64_t>> kept_rows;  // By step.

 private:
  FakeClock& clock_;
};

TEST(CheckpointsTest, WhatAnEvaluationHasDoneIsKeptEveryMinute) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.epochs = 1;
  options.config.eval_every_steps = 1;
  options.config.checkpoint_every_steps = 2;
  options.config.checkpoint_every_seconds = 9 * 60;
  options.checkpoint_directory = FreshDirectory("kept");
  FakeClock clock;
  SlowEvaluator evaluator(clock);
  RecordingSink sink;
  NoStop stop;
  const auto adapter = MakeAdapter(*model, OnlyLora());
  const auto result = Train(options, GoldenRows(), *adapter, &evaluator, sink, stop, clock);
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<int64_t> each_minute = {2, 4, 6, 8, 10, 12, 14, 16, 18, 20};
  EXPECT_EQ(evaluator.kept_rows[2], each_minute);
  // At these there is no checkpoint before the last one is nine minutes old.
  EXPECT_EQ(evaluator.kept_rows[1], (std::vector<int64_t>{18, 20}));
  EXPECT_EQ(evaluator.kept_rows[3], (std::vector<int64_t>{18, 20}));
  // Each time that something is kept the checkpoint is told of, with that and no other.
  for (const CheckpointEvent& event : sink.checkpoints) {
    int64_t kept = 0;
    for (const CheckpointFile& file : event.files) kept += file.path.starts_with("evaluation-");
    EXPECT_LE(kept, 1);
  }
  EXPECT_EQ(FindEvaluationFile(sink.checkpoints.back().directory), "");
}

TEST(CheckpointsTest, ACheckpointComesWhenTheLastIsOld) {
  const std::vector<int64_t> between = SecondsBetweenCheckpoints(70);
  EXPECT_GE(between.size(), 1u);
  for (const int64_t seconds : between) {
    EXPECT_GE(seconds, 70);
    EXPECT_LE(seconds, 76) << "at the end of a step";
  }
  EXPECT_THAT(SecondsBetweenCheckpoints(0), IsEmpty());
}

TEST(CheckpointsTest, SavingByTimeTakesTwoHundredthsOfItAtTheMost) {
  const std::vector<int64_t> between = SecondsBetweenCheckpoints(0.001);
  EXPECT_GE(between.size(), 1u);
  for (const int64_t seconds : between) EXPECT_GE(seconds, 50);
}

}  // namespace
}  // namespace graft
