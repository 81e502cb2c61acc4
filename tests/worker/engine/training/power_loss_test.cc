// What a power loss leaves of a run's checkpoints, after any change of the disk that the run makes:
// each is whole or is known to be none, and there is one from which the run goes on that is as far
// as the last that it told of.

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "tests/fakes/power_loss.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"
#include "worker/engine/training/training_state.h"

namespace graft {
namespace {

constexpr uint64_t kSeeds = 4;

// The hashes of a checkpoint's files, by path.
using Hashes = std::map<std::string, std::string>;

Hashes HashesOf(const std::vector<CheckpointFile>& files) {
  Hashes hashes;
  for (const CheckpointFile& file : files) hashes[file.path] = file.sha256;
  return hashes;
}

struct Told {
  size_t position;  // In the log.
  int64_t step;
  Hashes hashes;
};

class NotingSink : public RecordingSink {
 public:
  explicit NotingSink(DiskLog& log) : log_(log) {}
  void OnCheckpoint(const CheckpointEvent& event) override {
    told.push_back({log_.size(), event.step, HashesOf(event.files)});
  }
  std::vector<Told> told;

 private:
  DiskLog& log_;
};

class CheckpointPowerLossTest : public ::testing::Test {
 protected:
  std::string Left() const { return directory_.Path("left"); }

  // A run that is evaluated at every other step and keeps three checkpoints, and another one from
  // the third on, which replaces what the first had behind it.
  void Record() {
    const std::string recorded = directory_.Path("recorded");
    ASSERT_TRUE(CreateDirectories(recorded).ok());
    const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
    log_.emplace(recorded);
    NotingSink sink(*log_);
    TrainerOptions options = SmallOptions();
    options.config.max_steps = 5;
    options.config.checkpoint_every_steps = 1;
    options.config.checkpoint_keep_last = 3;
    options.config.eval_every_steps = 2;
    options.checkpoint_directory = JoinPath(recorded, "checkpoints");
    ASSERT_TRUE(CreateDirectories(options.checkpoint_directory).ok());
    LossEvaluator evaluator;
    NoStop stop;
    const auto train = [&] {
      const auto adapter = MakeAdapter(*model, OnlyLora());
      const auto result = Train(options, GoldenRows(), *adapter, &evaluator, sink, stop);
      ASSERT_TRUE(result.ok()) << result.status();
    };
    train();
    options.resume_from = JoinPath(options.checkpoint_directory, "3");
    options.config.learning_rates["lora"] *= 2;
    train();
    log_->Stop();
    told_ = std::move(sink.told);
  }

  // Was this checkpoint told of, before or afterwards?
  bool IsOfTheRun(int64_t step, const Hashes& hashes) const {
    return std::any_of(told_.begin(), told_.end(), [&](const Told& told) {
      return told.step == step && told.hashes == hashes;
    });
  }

  void Check(size_t position) {
    const std::string checkpoints = JoinPath(Left(), "checkpoints");
    Pulse pulse;
    std::map<int64_t, Hashes> whole;
    for (const std::string& name :
         ListDirectory(checkpoints).value_or(std::vector<std::string>())) {
      int64_t step = 0;
      if (!absl::SimpleAtoi(name, &step)) continue;  // What is not whole, by its name.
      const std::string path = JoinPath(checkpoints, name);
      const absl::StatusOr<TrainingState> state = LoadTrainingState(path, pulse);
      if (!state.ok()) {
        EXPECT_TRUE(absl::IsDataLoss(state.status())) << state.status();
        continue;
      }
      EXPECT_EQ(state->step, step);
      whole[step] = HashesOf(*CheckTrainingState(path, pulse));
      EXPECT_TRUE(IsOfTheRun(step, whole[step])) << path;
    }
    const Told* last = nullptr;
    for (const Told& told : told_) {
      if (told.position <= position) last = &told;
    }
    if (last == nullptr) return;
    ASSERT_TRUE(whole.count(last->step) > 0) << "step " << last->step << ", which was told of";
    for (const auto& [path, sha256] : last->hashes) {
      EXPECT_EQ(whole[last->step][path], sha256) << path << " of step " << last->step;
    }
  }

  const TempDir directory_{FastDirectory()};  // What syncs promise is computed.
  std::optional<DiskLog> log_;
  std::vector<Told> told_;
};

TEST_F(CheckpointPowerLossTest, LeavesWhatWasToldOfAndNothingHalf) {
  Record();
  ASSERT_GE(told_.size(), 9u);
  PowerLoss loss(*log_);
  for (;; loss.Advance()) {
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      SCOPED_TRACE(absl::StrCat("after ", loss.position(), " changes of the disk, seed ", seed));
      loss.Leave(Left(), seed);
      Check(loss.position());
      if (HasFatalFailure() || HasNonfatalFailure()) return;
      ASSERT_TRUE(RemoveTree(Left()).ok());
    }
    if (loss.position() == log_->changes().size()) break;
  }
  EXPECT_GE(loss.position(), 150u);
  std::cout << kSeeds * (loss.position() + 1) << " power losses in " << loss.position()
            << " changes of the disk, " << told_.size() << " checkpoints told of\n";
}

}  // namespace
}  // namespace graft
