#include "worker/engine/training/training_state.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

TrainingState SomeState() {
  TrainingState state;
  state.fingerprint = "base=ab data=cd";
  state.execution = {"training 1", "cuda", "bf16"};
  state.step = 7;
  state.updates = 6;
  state.num_rows = 100;
  state.epoch = 1;
  state.position = 16;
  state.early_stopping = {3, 0.1, 0.2, 1, true};
  state.best.step = 5;
  state.best.values = {{"eval/loss", 1.0 / 3}, {"eval/rouge1", std::nan("")}};
  state.best.decoding = "greedy";
  state.names = {"h.0.attn.c_attn.lora_A", "soft_prompt"};
  for (auto* list : {&state.trained, &state.exp_avgs, &state.exp_avg_sqs, &state.best_tensors}) {
    *list = {at::randn({2, 3}), at::randn({4}, at::kDouble)};
  }
  return state;
}

std::string Directory(const std::string& name) {
  const std::string parent = ::testing::TempDir() + "/states";
  EXPECT_TRUE(CreateDirectories(parent).ok());
  return parent + "/" + name;
}

TEST(TrainingStateTest, EverythingComesBackBitForBit) {
  const TrainingState state = SomeState();
  const std::string directory = Directory("whole");
  ASSERT_TRUE(SaveTrainingState(state, directory).ok());
  const absl::StatusOr<TrainingState> loaded = LoadTrainingState(directory);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->fingerprint, state.fingerprint);
  EXPECT_EQ(loaded->execution.revision, "training 1");
  EXPECT_EQ(loaded->execution.device, "cuda");
  EXPECT_EQ(loaded->execution.precision, "bf16");
  EXPECT_EQ(ReadExecution(directory)->precision, "bf16");
  EXPECT_EQ(loaded->step, 7);
  EXPECT_EQ(loaded->updates, 6);
  EXPECT_EQ(loaded->num_rows, 100);
  EXPECT_EQ(loaded->epoch, 1);
  EXPECT_EQ(loaded->position, 16);
  EXPECT_EQ(loaded->early_stopping.evaluations, 3);
  EXPECT_EQ(loaded->early_stopping.best_value, 0.1);
  EXPECT_EQ(loaded->early_stopping.reset_value, 0.2);
  EXPECT_EQ(loaded->early_stopping.without_improvement, 1);
  EXPECT_TRUE(loaded->early_stopping.stop);
  EXPECT_EQ(loaded->best.step, 5);
  EXPECT_EQ(loaded->best.values.at("eval/loss"), 1.0 / 3);
  EXPECT_TRUE(std::isnan(loaded->best.values.at("eval/rouge1")));
  EXPECT_EQ(loaded->best.decoding, "greedy");
  EXPECT_EQ(loaded->last.step, 0);
  EXPECT_EQ(loaded->names, state.names);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(at::equal(loaded->trained[i], state.trained[i]));
    EXPECT_TRUE(at::equal(loaded->exp_avgs[i], state.exp_avgs[i]));
    EXPECT_TRUE(at::equal(loaded->exp_avg_sqs[i], state.exp_avg_sqs[i]));
    EXPECT_TRUE(at::equal(loaded->best_tensors[i], state.best_tensors[i]));
  }
}

TEST(TrainingStateTest, AnOlderCheckpointOfThatStepIsReplaced) {
  const std::string directory = Directory("again");
  TrainingState state = SomeState();
  ASSERT_TRUE(SaveTrainingState(state, directory).ok());
  state.updates = 5;
  state.best_tensors.clear();
  ASSERT_TRUE(SaveTrainingState(state, directory).ok());
  const absl::StatusOr<TrainingState> loaded = LoadTrainingState(directory);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->updates, 5);
  EXPECT_TRUE(loaded->best_tensors.empty());
}

// Every byte of the small files, and every 7th of the tensors'.
TEST(TrainingStateTest, ChangedBytesAreNoticed) {
  const std::string directory = Directory("corrupt");
  ASSERT_TRUE(SaveTrainingState(SomeState(), directory).ok());
  for (const std::string& name : TrainingStateFiles()) {
    const std::string path = JoinPath(directory, name);
    const std::string good = *ReadFile(path, 1 << 20);
    const size_t stride = name == "state.safetensors" ? 7 : 3;
    for (size_t i = 0; i < good.size(); i += stride) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 1);
      ASSERT_TRUE(WriteFileAtomically(path, bad).ok());
      EXPECT_EQ(LoadTrainingState(directory).status().code(), absl::StatusCode::kDataLoss)
          << name << " byte " << i;
    }
    for (size_t length : {size_t{0}, size_t{1}, good.size() / 2, good.size() - 1}) {
      ASSERT_TRUE(WriteFileAtomically(path, good.substr(0, length)).ok());
      EXPECT_EQ(LoadTrainingState(directory).status().code(), absl::StatusCode::kDataLoss)
          << name << " cut to " << length;
    }
    ASSERT_TRUE(RemoveFile(path).ok());
    EXPECT_EQ(LoadTrainingState(directory).status().code(), absl::StatusCode::kDataLoss);
    ASSERT_TRUE(WriteFileAtomically(path, good).ok());
  }
  EXPECT_TRUE(LoadTrainingState(directory).ok());
}

TEST(TrainingStateTest, AnotherFormatIsNamed) {
  const std::string directory = Directory("format");
  ASSERT_TRUE(SaveTrainingState(SomeState(), directory).ok());
  const std::string path = JoinPath(directory, "state.json");
  const std::string text = *ReadFile(path, 1 << 20);
  ASSERT_TRUE(
      WriteFileAtomically(path, absl::StrReplaceAll(text, {{"\"format\": 2", "\"format\": 1"}}))
          .ok());
  const absl::Status status = ReadExecution(directory).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FailureClassOf(status), FailureClass::kInfrastructure);
  EXPECT_THAT(status.message(), ::testing::HasSubstr("has format 1"));
}

TEST(TrainingStateTest, NoSuchCheckpointIsNotFound) {
  EXPECT_EQ(LoadTrainingState(Directory("nowhere")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace graft
