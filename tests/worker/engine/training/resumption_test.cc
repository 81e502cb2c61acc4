#include "worker/engine/training/resumption.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <stdexcept>

#include "absl/strings/numbers.h"
#include "tests/worker/engine/recording_sink.h"
#include "tests/worker/engine/training/small_runs.h"
#include "worker/engine/failure.h"
#include "worker/engine/training/schedule.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Keeps the files of the last checkpoint as a server would, which an engine may have removed since.
class UploadingSink : public RecordingSink {
 public:
  void OnCheckpoint(const CheckpointEvent& event) override {
    RecordingSink::OnCheckpoint(event);
    uploaded.clear();
    for (const CheckpointFile& file : event.files) {
      const std::string bytes = *ReadFile(JoinPath(event.directory, file.path), 1 << 24);
      EXPECT_EQ(Sha256Hex(bytes), file.sha256) << file.path;
      uploaded[file.path] = bytes;
    }
  }
  std::map<std::string, std::string> uploaded;
};

// Ends the process, as far as a test may, at the n-th event: before it is told, or after.
class KillingSink : public UploadingSink {
 public:
  KillingSink(int64_t event, bool after) : left_(event), after_(after) {}
  void OnStep(const StepEvent& event) override {
    Tell([&] { RecordingSink::OnStep(event); });
  }
  void OnEvaluation(const EvaluationEvent& event) override {
    Tell([&] { RecordingSink::OnEvaluation(event); });
  }
  void OnCheckpoint(const CheckpointEvent& event) override {
    Tell([&] { UploadingSink::OnCheckpoint(event); });
  }

 private:
  void Tell(const std::function<void()>& record) {
    const bool killed = --left_ == 0;
    if (!killed || after_) record();
    if (killed) throw std::runtime_error("killed by the test");
  }
  int64_t left_;
  const bool after_;
};

// From the n-th of them on, nothing is written or renamed any more.
int64_t file_calls_left = 0;

bool FileCallFails() {
  if (--file_calls_left > 0) return false;
  errno = EIO;
  return true;
}

constexpr FileSystemCalls kDyingFileSystem = {
    pread,
    [](int fd, const void* bytes, size_t count) -> ssize_t {
      return FileCallFails() ? -1 : write(fd, bytes, count);
    },
    fsync,
    [](const char* from, const char* to) { return FileCallFails() ? -1 : rename(from, to); },
};

// The second evaluation is not the best one, so that not every one changes the best tensors.
class SecondIsWorse : public LossEvaluator {
 public:
  absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network& network, int64_t step,
                                           EvaluationKeeper& keeper, StopToken& stop) override {
    absl::StatusOr<EvaluationEvent> event = LossEvaluator::Evaluate(network, step, keeper, stop);
    if (event.ok() && step == 4) event->values["eval/loss"] += 10;
    return event;
  }
};

// A run, and what it must come to however often it is killed.
class KilledRunTest : public ::testing::TestWithParam<int64_t> {
 protected:
  explicit KilledRunTest(const MethodConfig& method = AllParts()) : method_(method) {
    at::set_num_threads(1);  // Hundreds of tiny runs: more threads only wait for each other.
    options_ = SmallOptions();
    options_.config.gradient_accumulation_steps = 2;
    options_.config.checkpoint_every_steps = GetParam();
    options_.config.checkpoint_keep_last = 1;
    options_.config.early_stopping.patience = 0;
    options_.config.residual_dropout = 0.1;
    options_.config.attention_dropout = 0.1;
    options_.config.embedding_dropout = 0.1;
    options_.fingerprint = "a run";
    const std::unique_ptr<AdapterSet> reference = MakeAdapter(*model_, method_);
    EXPECT_TRUE(Train(options_, GoldenRows(), *reference, &evaluator_, whole_, no_stop_).ok());
    EXPECT_EQ(whole_.steps.size(), 6u);
    EXPECT_EQ(whole_.evaluations.size(), 3u);
    hash_ = HashOf(*reference);
  }

  absl::Status Live(AdapterSet& adapter, EventSink& sink, StopToken& stop) {
    return Train(options_, GoldenRows(), adapter, &evaluator_, sink, stop).status();
  }

  // From the newest checkpoint that lies there, as graft-engine run --resume.
  void ResumeHere() {
    const std::vector<std::string> names = *ListDirectory(options_.checkpoint_directory);
    int64_t newest = 0;
    for (const std::string& name : names) {
      int64_t step = 0;
      if (absl::SimpleAtoi(name, &step)) newest = std::max(newest, step);
    }
    options_.resume_from.clear();
    if (newest == 0) return;
    options_.resume_from = JoinPath(options_.checkpoint_directory, std::to_string(newest));
  }

  // From the files of the last one that was told of, in an empty directory, as a worker.
  void ResumeElsewhere(const UploadingSink& before) {
    options_.resume_from.clear();
    options_.checkpoint_directory = FreshDirectory("next");
    if (before.uploaded.empty()) return;
    options_.resume_from = FreshDirectory("leased");
    for (const auto& [path, bytes] : before.uploaded) {
      EXPECT_TRUE(WriteFileAtomically(JoinPath(options_.resume_from, path), bytes).ok());
    }
  }

  // `life` runs until it is killed; OK: it came to its end. Whatever was told is kept in `before`.
  using Life = std::function<absl::Status(int64_t place, std::unique_ptr<UploadingSink>& before)>;

  void KillEverywhere(const std::string& how, const Life& life) {
    for (int64_t place = 1;; ++place) {
      const std::string directory = FreshDirectory("killed");
      options_.checkpoint_directory = directory;
      options_.resume_from.clear();
      std::unique_ptr<UploadingSink> before = std::make_unique<UploadingSink>();
      if (life(place, before).ok()) {
        EXPECT_GT(place, 9);
        return;
      }
      for (const bool elsewhere : {true, false}) {
        SCOPED_TRACE(absl::StrCat(how, " ", place, elsewhere ? ", elsewhere" : ""));
        options_.checkpoint_directory = directory;
        elsewhere ? ResumeElsewhere(*before) : ResumeHere();
        RecordingSink after;
        // Its own initial values must not matter.
        const std::unique_ptr<AdapterSet> adapter =
            MakeAdapter(*model_, method_, options_.resume_from.empty() ? 1 : 99);
        const absl::Status ended = Live(*adapter, after, no_stop_);
        ASSERT_TRUE(ended.ok()) << ended;
        EXPECT_EQ(HashOf(*adapter), hash_);
        ExpectSameEvents(*before, after);
        ASSERT_FALSE(HasFailure());
      }
    }
  }

  // Together the two halves tell all that the whole run did, in its order; what both tell is equal.
  void ExpectSameEvents(const RecordingSink& before, const RecordingSink& after) {
    std::vector<int64_t> steps, evaluations;
    for (const RecordingSink* part : {&before, &after}) {
      for (const StepEvent& event : part->steps) {
        if (steps.empty() || event.step > steps.back()) steps.push_back(event.step);
        EXPECT_EQ(event.loss, whole_.steps[event.step - 1].loss) << "step " << event.step;
        EXPECT_EQ(event.grad_norm, whole_.steps[event.step - 1].grad_norm);
      }
      for (const EvaluationEvent& event : part->evaluations) {
        if (evaluations.empty() || event.step > evaluations.back()) {
          evaluations.push_back(event.step);
        }
        const EvaluationEvent& same = whole_.evaluations[event.step / 2 - 1];
        EXPECT_EQ(event.values, same.values) << "step " << event.step;
        EXPECT_EQ(event.is_best, same.is_best) << "step " << event.step;
        EXPECT_EQ(event.epoch, same.epoch);
      }
    }
    EXPECT_THAT(steps, ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_THAT(evaluations, ElementsAre(2, 4, 6));
  }

  const MethodConfig method_;
  const std::unique_ptr<Gpt2Model> model_ = GoldenModel(at::kFloat);
  TrainerOptions options_;
  SecondIsWorse evaluator_;
  NoStop no_stop_;
  RecordingSink whole_;
  std::string hash_;
};

// 0: checkpoints come with the evaluations, at steps 2, 4 and 6.
INSTANTIATE_TEST_SUITE_P(CheckpointEverySteps, KilledRunTest, ::testing::Values(0, 1));

TEST_P(KilledRunTest, AtEveryMicroBatchAndEveryBatchOfAnEvaluation) {
  KillEverywhere("stopped at poll", [&](int64_t place, std::unique_ptr<UploadingSink>& before) {
    StopAtPoll stop(place);
    return Live(*MakeAdapter(*model_, method_), *before, stop);
  });
}

TEST_P(KilledRunTest, BeforeAndAfterEveryEvent) {
  for (const bool after : {false, true}) {
    KillEverywhere(after ? "killed after event" : "killed before event",
                   [&](int64_t place, std::unique_ptr<UploadingSink>& before) {
                     before = std::make_unique<KillingSink>(place, after);
                     return Live(*MakeAdapter(*model_, method_), *before, no_stop_);
                   });
  }
}

// The files are written in the same way whenever it is.
class KilledWriteTest : public KilledRunTest {
 protected:
  KilledWriteTest() : KilledRunTest(OnlyLora()) {}
};
INSTANTIATE_TEST_SUITE_P(CheckpointAtEvaluations, KilledWriteTest, ::testing::Values(0));

TEST_P(KilledWriteTest, AtEveryWriteAndRename) {
  KillEverywhere("killed at file call", [&](int64_t place, std::unique_ptr<UploadingSink>& before) {
    file_calls_left = place;
    SetFileSystemCallsForTest(&kDyingFileSystem);
    const absl::Status status = Live(*MakeAdapter(*model_, method_), *before, no_stop_);
    SetFileSystemCallsForTest(nullptr);
    return status;
  });
}

TEST_P(KilledRunTest, PausedAtEveryMicroBatchAndEveryBatchOfAnEvaluation) {
  KillEverywhere("paused at poll", [&](int64_t place, std::unique_ptr<UploadingSink>& before) {
    PauseAtPoll stop(place);
    const absl::Status left = Live(*MakeAdapter(*model_, method_), *before, stop);
    if (left.ok()) return left;
    EXPECT_TRUE(IsPaused(left)) << left;
    // Nothing that was told is lost: the newest checkpoint is that of the last step.
    const int64_t step = before->steps.empty() ? 0 : before->steps.back().step;
    const int64_t saved = before->checkpoints.empty() ? 0 : before->checkpoints.back().step;
    EXPECT_EQ(saved, step) << "paused at poll " << place;
    return left;
  });
}

TEST_P(KilledRunTest, APauseWaitsForTheEndOfTheStep) {
  options_.checkpoint_directory = FreshDirectory("waits");
  PauseAtPoll stop(2);  // In the second half of the first step.
  RecordingSink sink;
  EXPECT_TRUE(IsPaused(Live(*MakeAdapter(*model_, method_), sink, stop)));
  EXPECT_EQ(sink.steps.size(), 1u);
}

// A checkpoint that is asked for comes at the end of its step, and changes nothing.
class CheckpointAt : public NoStop {
 public:
  explicit CheckpointAt(int64_t step) : step_(step) {}
  int64_t RequestedCheckpoint() override { return step_; }

 private:
  const int64_t step_;
};

TEST_P(KilledRunTest, ACheckpointThatIsAskedForChangesNoNumber) {
  for (const int64_t step : {1, 3, 6}) {
    options_.checkpoint_directory = FreshDirectory("asked");
    CheckpointAt stop(step);  // From before the first step on.
    RecordingSink sink;
    const std::unique_ptr<AdapterSet> adapter = MakeAdapter(*model_, method_);
    ASSERT_TRUE(Live(*adapter, sink, stop).ok());
    EXPECT_EQ(HashOf(*adapter), hash_);
    int times = 0;
    for (const CheckpointEvent& event : sink.checkpoints) {
      times += event.step == step && !event.again;
      EXPECT_TRUE(event.step == step || GetParam() == 1 || event.step % 2 == 0) << event.step;
    }
    EXPECT_EQ(times, 1) << step;
  }
}

// No process lives long enough for an epoch and its evaluation.
TEST_P(KilledRunTest, ItEndsThoughNobodyLivesLongerThanAnEvaluation) {
  options_.checkpoint_directory = FreshDirectory("short lives");
  for (int life = 1; life <= 20; ++life) {
    StopAtPoll stop(5);  // An epoch has three micro-batches, an evaluation three batches.
    RecordingSink sink;
    const std::unique_ptr<AdapterSet> adapter = MakeAdapter(*model_, method_);
    const absl::Status status = Live(*adapter, sink, stop);
    if (status.ok()) {
      EXPECT_EQ(HashOf(*adapter), hash_);
      return;
    }
    ResumeHere();
  }
  FAIL() << "it is at " << options_.resume_from << " after 20 lives";
}

TEST(ResumptionTest, SkippedUpdatesAreCountedOverAResumption) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.config.learning_rates["lora"] = 1e30;  // After the first update no loss is finite.
  options.config.max_steps = 30;
  options.config.on_divergence = DivergencePolicy::kSkip;
  options.config.checkpoint_every_steps = 1;
  options.checkpoint_directory = FreshDirectory("skips");
  RecordingSink whole;
  NoStop no_stop;
  const absl::Status undisturbed =
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), nullptr, whole, no_stop)
          .status();
  EXPECT_THAT(undisturbed.message(), HasSubstr("diverged at step 4: "));
  EXPECT_THAT(undisturbed.message(), HasSubstr("; 3 updates up to there were skipped"));

  options.resume_from = options.checkpoint_directory + "/3";
  RecordingSink resumed;
  EXPECT_EQ(
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), nullptr, resumed, no_stop)
          .status(),
      undisturbed);
}

TEST(ResumptionTest, CheckpointsOfOtherRunsAndBrokenOnesAreRefused) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.checkpoint_directory = FreshDirectory("others");
  options.fingerprint = "one";
  options.execution = {"NVIDIA H200", "", "bf16"};
  RecordingSink sink;
  NoStop stop;
  ASSERT_TRUE(
      Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), nullptr, sink, stop).ok());
  options.resume_from = sink.checkpoints.back().directory;
  const auto resume = [&](const MethodConfig& method) {
    return Train(options, GoldenRows(), *MakeAdapter(*model, method), nullptr, sink, stop).status();
  };
  EXPECT_TRUE(resume(OnlyLora()).ok());
  EXPECT_EQ(resume(AllParts()).code(), absl::StatusCode::kFailedPrecondition);
  options.fingerprint = "two";
  const absl::Status other_run = resume(OnlyLora());
  EXPECT_EQ(other_run.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FailureClassOf(other_run), FailureClass::kInternal) << other_run;
  options.fingerprint = "one";
  options.execution = {"cpu", "AVX2", "fp32"};
  const absl::Status elsewhere = resume(OnlyLora());
  EXPECT_EQ(elsewhere.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FailureClassOf(elsewhere), FailureClass::kInfrastructure);
  EXPECT_THAT(
      elsewhere.message(),
      HasSubstr("was made with device NVIDIA H200, precision bf16; this worker would go on with "
                "device cpu, precision fp32"));
  options.execution = {"NVIDIA H200", "", "bf16"};
  ASSERT_TRUE(RemoveFile(options.resume_from + "/state.json").ok());
  EXPECT_EQ(resume(OnlyLora()).code(), absl::StatusCode::kDataLoss);
}

// What a checkpoint of `then` says to a run with `now`.
absl::StatusOr<std::string> Continue(const Execution& then, const Execution& now,
                                     bool allow_migration = false) {
  TrainingState loaded, fresh;
  loaded.execution = then;
  fresh.execution = now;
  loaded.num_rows = fresh.num_rows = 5;
  return CheckContinues(loaded, fresh, MakeStepPlan(SmallOptions().config, 5), allow_migration);
}

const Execution kProcessor = {"cpu", "AVX2", "fp32", 2, "2.11.0", "aa"};
const Execution kGpu = {"NVIDIA H200", "", "fp32", 2, "2.11.0", "aa"};

void ExpectRefused(const Execution& then, const Execution& now, const std::string& text) {
  const absl::Status status = Continue(then, now).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FailureClassOf(status), FailureClass::kInfrastructure);
  EXPECT_THAT(status.message(), HasSubstr(text));
}

TEST(ResumptionTest, TheSameExecutionGoesOnWithoutAWord) {
  EXPECT_THAT(*Continue(kProcessor, kProcessor), IsEmpty());
  EXPECT_THAT(*Continue(kGpu, kGpu), IsEmpty());
}

TEST(ResumptionTest, DeviceInstructionSetAndPrecisionBind) {
  Execution other = kProcessor;
  other.cpu_capability = "AVX512";
  ExpectRefused(kProcessor, other,
                "was made with cpu_capability AVX2; this worker would go on with cpu_capability "
                "AVX512, which would give other numbers");
  other = kProcessor;
  other.precision = "bf16";
  ExpectRefused(kProcessor, other, "made with precision fp32; ");
  other = kGpu;
  other.device = "NVIDIA H100";
  ExpectRefused(kGpu, other,
                "made with device NVIDIA H200; this worker would go on with device NVIDIA H100");
  ExpectRefused(kGpu, kProcessor,
                "made with device NVIDIA H200; this worker would go on with device cpu");
}

TEST(ResumptionTest, AJobThatMayMigrateGoesOnAnywhereAndSaysSo) {
  EXPECT_EQ(*Continue(kGpu, kProcessor, /*allow_migration=*/true), "device NVIDIA H200 -> cpu");
  Execution other = kProcessor;
  other.cpu_capability = "AVX512";
  other.precision = "bf16";
  other.threads = 4;
  EXPECT_EQ(*Continue(kProcessor, other, /*allow_migration=*/true),
            "cpu_capability AVX2 -> AVX512, precision fp32 -> bf16, threads 2 -> 4");
  EXPECT_THAT(*Continue(kGpu, kGpu, /*allow_migration=*/true), IsEmpty());
}

TEST(ResumptionTest, WhatElseDiffersIsNamed) {
  Execution other = kProcessor;
  other.libtorch = "2.12.0";
  other.code_sha256 = "bb";
  other.threads = 4;
  EXPECT_EQ(*Continue(kProcessor, other),
            "threads 2 -> 4, libtorch 2.11.0 -> 2.12.0, code_sha256 aa -> bb");
}

TEST(ResumptionTest, AGpuGoesOnWithWhatBeganOnAProcessor) {
  EXPECT_EQ(*Continue(kProcessor, kGpu), "device cpu -> NVIDIA H200");
  Execution other = kGpu;
  other.precision = "bf16";
  ExpectRefused(kProcessor, other, "made with precision fp32; ");
}

TEST(ResumptionTest, WhatIsNotKnownIsNotCompared) {
  const Execution before_on_cpu = {.device = "cpu", .precision = "fp32"};
  const Execution before_on_gpu = {.device = "cuda", .precision = "fp32"};
  EXPECT_THAT(*Continue(before_on_cpu, kProcessor), IsEmpty());
  EXPECT_THAT(*Continue(before_on_gpu, kGpu), IsEmpty());
  EXPECT_EQ(*Continue(before_on_cpu, kGpu), "device cpu -> NVIDIA H200");
  ExpectRefused(before_on_gpu, kProcessor, "made with device cuda; ");
}

TEST(ResumptionTest, AnotherBuildGoesOnWithAWarningThatComesOnce) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  TrainerOptions options = SmallOptions();
  options.checkpoint_directory = FreshDirectory("builds");
  options.config.checkpoint_every_steps = 1;
  options.config.max_steps = 4;
  options.execution = kProcessor;
  RecordingSink first, second, third;
  NoStop no_stop;
  StopAtPoll in_the_third_step(3);
  const auto run = [&](RecordingSink& sink, StopToken& stop) {
    return Train(options, GoldenRows(), *MakeAdapter(*model, OnlyLora()), nullptr, sink, stop)
        .status();
  };
  EXPECT_EQ(run(first, in_the_third_step).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(first.checkpoints.back().execution.code_sha256, "aa");
  options.resume_from = first.checkpoints.back().directory;
  options.execution.code_sha256 = "bb";
  EXPECT_TRUE(run(second, no_stop).ok());
  ASSERT_EQ(second.warnings.size(), 1u);
  EXPECT_EQ(second.warnings[0].first, "NOT_BIT_EXACT");
  EXPECT_THAT(second.warnings[0].second, HasSubstr("from step 2 with code_sha256 aa -> bb"));
  EXPECT_EQ(second.checkpoints.back().execution.code_sha256, "bb");
  options.resume_from = second.checkpoints[0].directory;
  EXPECT_TRUE(run(third, no_stop).ok());
  EXPECT_THAT(third.warnings, IsEmpty());
}

}  // namespace
}  // namespace graft
