#include "worker/engine/training/training_state.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

TrainingState SomeState() {
  TrainingState state;
  state.fingerprint = "base=ab data=cd";
  state.execution = {"NVIDIA H200", "AVX2", "bf16", 3, "2.11.0", "abc"};
  state.step = 7;
  state.updates = 6;
  state.num_rows = 100;
  state.epoch = 1;
  state.position = 16;
  state.skipped_in_a_row = 2;
  state.early_stopping = {3, 0.1, 0.2, 1, true};
  state.best.step = 5;
  state.best.values = {{"eval/loss", 1.0 / 3}, {"eval/rouge1", std::nan("")}};
  state.best.decoding = "greedy";
  state.best.precision = "bf16";
  state.names = {"h.0.attn.c_attn.lora_A", "soft_prompt"};
  for (auto* list : {&state.trained, &state.exp_avgs, &state.exp_avg_sqs, &state.best_tensors}) {
    *list = {at::randn({2, 3}), at::randn({4}, at::kDouble)};
  }
  return state;
}

Pulse pulse;

std::string Directory(const std::string& name) {
  const std::string parent = ::testing::TempDir() + "/states";
  EXPECT_TRUE(CreateDirectories(parent).ok());
  return parent + "/" + name;
}

TEST(TrainingStateTest, EverythingComesBackBitForBit) {
  const TrainingState state = SomeState();
  const std::string directory = Directory("whole");
  ASSERT_TRUE(SaveTrainingState(state, directory, pulse).ok());
  const absl::StatusOr<TrainingState> loaded = LoadTrainingState(directory, pulse);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->fingerprint, state.fingerprint);
  EXPECT_EQ(loaded->execution.device, "NVIDIA H200");
  EXPECT_EQ(loaded->execution.cpu_capability, "AVX2");
  EXPECT_EQ(loaded->execution.threads, 3);
  EXPECT_EQ(loaded->execution.libtorch, "2.11.0");
  EXPECT_EQ(loaded->execution.code_sha256, "abc");
  EXPECT_EQ(loaded->execution.precision, "bf16");
  EXPECT_EQ(ReadExecution(directory)->precision, "bf16");
  EXPECT_EQ(loaded->step, 7);
  EXPECT_EQ(loaded->updates, 6);
  EXPECT_EQ(loaded->num_rows, 100);
  EXPECT_EQ(loaded->epoch, 1);
  EXPECT_EQ(loaded->position, 16);
  EXPECT_EQ(loaded->skipped_in_a_row, 2);
  EXPECT_FALSE(loaded->evaluation_due);
  EXPECT_TRUE(loaded->left_out.empty());
  EXPECT_EQ(loaded->early_stopping.evaluations, 3);
  EXPECT_EQ(loaded->early_stopping.best_value, 0.1);
  EXPECT_EQ(loaded->early_stopping.reset_value, 0.2);
  EXPECT_EQ(loaded->early_stopping.without_improvement, 1);
  EXPECT_TRUE(loaded->early_stopping.stop);
  EXPECT_EQ(loaded->best.step, 5);
  EXPECT_EQ(loaded->best.values.at("eval/loss"), 1.0 / 3);
  EXPECT_TRUE(std::isnan(loaded->best.values.at("eval/rouge1")));
  EXPECT_EQ(loaded->best.decoding, "greedy");
  EXPECT_EQ(loaded->best.precision, "bf16");
  EXPECT_EQ(loaded->last.step, 0);
  EXPECT_EQ(loaded->names, state.names);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(at::equal(loaded->trained[i], state.trained[i]));
    EXPECT_TRUE(at::equal(loaded->exp_avgs[i], state.exp_avgs[i]));
    EXPECT_TRUE(at::equal(loaded->exp_avg_sqs[i], state.exp_avg_sqs[i]));
    EXPECT_TRUE(at::equal(loaded->best_tensors[i], state.best_tensors[i]));
  }
}

TEST(TrainingStateTest, ThePulseBeatsWithTheBytes) {
  const std::string directory = Directory("pulse");
  TrainingState state = SomeState();
  state.trained[0] = at::zeros({6 << 20});  // 24 MiB: three beats to write and three to check.
  Pulse own;
  ASSERT_TRUE(SaveTrainingState(state, directory, own).ok());
  EXPECT_GE(own.count(), 6);
  const int64_t saved = own.count();
  ASSERT_TRUE(LoadTrainingState(directory, own).ok());
  EXPECT_GE(own.count(), saved + 3);
}

TEST(TrainingStateTest, AnOlderCheckpointOfThatStepIsReplaced) {
  const std::string directory = Directory("again");
  TrainingState state = SomeState();
  ASSERT_TRUE(SaveTrainingState(state, directory, pulse).ok());
  state.updates = 5;
  state.best_tensors.clear();
  ASSERT_TRUE(SaveTrainingState(state, directory, pulse).ok());
  const absl::StatusOr<TrainingState> loaded = LoadTrainingState(directory, pulse);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->updates, 5);
  EXPECT_TRUE(loaded->best_tensors.empty());
}

// Flips a bit of each byte of the files of the checkpoint in `directory`, shortens each to every
// length and removes it: that is always noticed.
void ExpectEveryDamageIsNoticed(const std::string& directory,
                                const std::vector<std::string>& files) {
  const auto noticed = [&] {
    return absl::IsDataLoss(LoadTrainingState(directory, pulse).status());
  };
  std::mt19937 random(1);
  int bits = 0, cuts = 0;
  for (const std::string& name : files) {
    const std::string path = JoinPath(directory, name);
    const std::string good = *ReadFile(path, 1 << 20);
    for (size_t i = 0; i < good.size(); ++i, ++bits) {
      std::string bad = good;
      const int bit = 1 << random() % 8;
      bad[i] = static_cast<char>(bad[i] ^ bit);
      std::ofstream(path) << bad;
      EXPECT_TRUE(noticed()) << name << " byte " << i << " bit " << bit;
    }
    for (size_t length = 0; length < good.size(); ++length, ++cuts) {
      std::ofstream(path) << good.substr(0, length);
      EXPECT_TRUE(noticed()) << name << " cut to " << length;
    }
    ASSERT_TRUE(RemoveFile(path).ok());
    // Without this one there is no evaluation yet.
    EXPECT_TRUE(noticed() || name == "SHA256SUMS.evaluated") << name;
    std::ofstream(path) << good;
  }
  EXPECT_TRUE(LoadTrainingState(directory, pulse).ok());
  std::cout << bits << " flipped bits, " << cuts << " truncations\n";
}

TEST(TrainingStateTest, AFlippedBitOfAnyByteIsNoticedAndSoIsEveryTruncation) {
  const std::string directory = Directory("corrupt");
  ASSERT_TRUE(SaveTrainingState(SomeState(), directory, pulse).ok());
  ExpectEveryDamageIsNoticed(directory, {"SHA256SUMS", "state.json", "state.safetensors"});
}

TEST(TrainingStateTest, DamageOfAnAddedEvaluationIsNoticed) {
  const std::string directory = Directory("corrupt_evaluated");
  TrainingState state = SomeState();
  state.evaluation_due = true;
  const auto saved = SaveTrainingState(state, directory, pulse);
  ASSERT_TRUE(saved.ok()) << saved.status();
  state.evaluation_due = false;
  ASSERT_TRUE(AddEvaluation(state, directory, *saved, pulse).ok());
  ExpectEveryDamageIsNoticed(directory, {"SHA256SUMS", "evaluated.json", "SHA256SUMS.evaluated"});
}

TEST(TrainingStateTest, AnotherFormatIsNamed) {
  const std::string directory = Directory("format");
  ASSERT_TRUE(SaveTrainingState(SomeState(), directory, pulse).ok());
  const std::string path = JoinPath(directory, "state.json");
  const std::string text = *ReadFile(path, 1 << 20);
  ASSERT_TRUE(
      WriteFileAtomically(path, absl::StrReplaceAll(text, {{"\"format\": 4", "\"format\": 1"}}))
          .ok());
  const absl::Status status = ReadExecution(directory).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FailureClassOf(status), FailureClass::kInfrastructure);
  EXPECT_THAT(status.message(),
              ::testing::HasSubstr("has format 1, this version of graft reads 2 to 6"));
}

int FormatOf(const std::string& directory) {
  return nlohmann::json::parse(*ReadFile(directory + "/state.json", 1 << 20)).at("format");
}

TEST(TrainingStateTest, OnlyAStateWithRowsLeftOutHasAFormatThatTheBuildBeforeCannotRead) {
  const std::string directory = Directory("left out");
  TrainingState state = SomeState();
  ASSERT_TRUE(SaveTrainingState(state, directory, pulse).ok());
  EXPECT_EQ(FormatOf(directory), 4);
  state.left_out = {3, 17};
  state.times_gone_back = 2;
  ASSERT_TRUE(SaveTrainingState(state, directory, pulse).ok());
  EXPECT_EQ(FormatOf(directory), 5);
  const absl::StatusOr<TrainingState> loaded = LoadTrainingState(directory, pulse);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->left_out, state.left_out);
  EXPECT_EQ(loaded->times_gone_back, 2);
}

TEST(TrainingStateTest, AHalvedMicroBatchStandsInTheExecution) {
  const std::string directory = Directory("halved");
  TrainingState state = SomeState();
  state.execution.batch_size = 3;
  ASSERT_TRUE(SaveTrainingState(state, directory, pulse).ok());
  EXPECT_EQ(FormatOf(directory), 6);
  EXPECT_EQ(ReadExecution(directory)->batch_size, 3);
  EXPECT_EQ(LoadTrainingState(directory, pulse)->execution.batch_size, 3);
  state.execution.batch_size = 0;
  ASSERT_TRUE(SaveTrainingState(state, directory, pulse).ok());
  EXPECT_EQ(FormatOf(directory), 4);
  EXPECT_THAT(*ReadFile(directory + "/state.json", 1 << 20),
              ::testing::Not(::testing::HasSubstr("batch_size")));
}

TEST(TrainingStateTest, CheckpointsOfTheLandingBeforeAreRead) {
  const std::string directory = Directory("before");
  ASSERT_TRUE(SaveTrainingState(SomeState(), directory, pulse).ok());
  // state.json as that wrote it.
  auto json = nlohmann::json::parse(*ReadFile(directory + "/state.json", 1 << 20));
  json["format"] = 2;
  json["execution"] = {
      {"revision", "graft training 1"}, {"device", "cuda"}, {"precision", "bf16"}, {"threads", 3}};
  json.erase("skipped_in_a_row");
  json.erase("evaluation_due");
  const std::string text = json.dump(2) + "\n";
  const std::string sums = *ReadFile(directory + "/SHA256SUMS", 1 << 20);
  ASSERT_TRUE(WriteFileAtomically(directory + "/state.json", text).ok());
  ASSERT_TRUE(
      WriteFileAtomically(directory + "/SHA256SUMS", Sha256Hex(text) + sums.substr(64)).ok());
  const absl::StatusOr<TrainingState> loaded = LoadTrainingState(directory, pulse);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->step, 7);
  EXPECT_EQ(loaded->execution.device, "cuda");
  EXPECT_EQ(loaded->execution.libtorch, "");
  EXPECT_FALSE(loaded->evaluation_due);
  EXPECT_TRUE(loaded->has_whole_fingerprint);
}

TEST(TrainingStateTest, AnEvaluationIsAddedToACheckpointThatStays) {
  const std::string directory = Directory("evaluated");
  TrainingState state = SomeState();
  state.evaluation_due = true;
  const auto saved = SaveTrainingState(state, directory, pulse);
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_TRUE(LoadTrainingState(directory, pulse)->evaluation_due);

  state.evaluation_due = false;
  state.last.step = state.step;
  state.early_stopping.evaluations = 4;
  const auto whole = AddEvaluation(state, directory, *saved, pulse);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_EQ(whole->size(), 5u);
  for (size_t i = 0; i < saved->size(); ++i) EXPECT_EQ((*whole)[i].sha256, (*saved)[i].sha256);
  for (const CheckpointFile& file : *whole) {
    EXPECT_EQ(*FileSize(JoinPath(directory, file.path)), file.size_bytes);
    EXPECT_EQ(*Sha256HexOfFile(JoinPath(directory, file.path)), file.sha256);
  }
  EXPECT_EQ(CheckTrainingState(directory, pulse)->size(), 5u);
  absl::StatusOr<TrainingState> loaded = LoadTrainingState(directory, pulse);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_FALSE(loaded->evaluation_due);
  EXPECT_EQ(loaded->early_stopping.evaluations, 4);
  EXPECT_EQ(loaded->last.step, 7);
  EXPECT_EQ(loaded->best.step, 5);
  EXPECT_TRUE(at::equal(loaded->best_tensors[1], state.best_tensors[1]));

  // The best one so far: its tensors are those of the step, whatever was the best before.
  state.best.step = state.step;
  ASSERT_TRUE(AddEvaluation(state, directory, *saved, pulse).ok());
  loaded = LoadTrainingState(directory, pulse);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal(loaded->best_tensors[1], state.trained[1]));

  // Changed, it is noticed; without its sums, which come last, it is not there yet.
  ASSERT_TRUE(WriteFileAtomically(directory + "/evaluated.json", "{}").ok());
  EXPECT_EQ(LoadTrainingState(directory, pulse).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(RemoveFile(directory + "/SHA256SUMS.evaluated").ok());
  EXPECT_TRUE(LoadTrainingState(directory, pulse)->evaluation_due);
}

TEST(TrainingStateTest, NoSuchCheckpointIsNotFound) {
  EXPECT_EQ(LoadTrainingState(Directory("nowhere"), pulse).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace graft
