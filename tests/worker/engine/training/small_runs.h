#pragma once

// Trainings of a few steps on the golden model and its rows.

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/soft_prompt.h"
#include "tests/worker/engine/golden.h"
#include "worker/engine/training/trainer.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {

inline MethodConfig AllParts() {
  MethodConfig method;
  method.Set(LoraConfig{.rank = 2, .dropout = 0.2, .target_modules = {"c_attn", "c_fc"}});
  method.Set(SoftPromptConfig{.num_virtual_tokens = 3});
  method.Set(LastLayersConfig{.num_layers = 1, .include_lm_head = true});
  return method;
}

inline MethodConfig OnlyLora() {
  MethodConfig method;
  method.Set(LoraConfig{.rank = 2});
  return method;
}

// Three epochs of three steps.
inline TrainerOptions SmallOptions() {
  TrainerOptions options;
  options.config.epochs = 3;
  options.config.batch_size = 2;
  options.config.learning_rates = {
      {"lora", 1e-2}, {"soft_prompt", 1e-2}, {"last_layers", 1e-2}, {"full", 1e-2}};
  return options;
}

inline std::unique_ptr<AdapterSet> MakeAdapter(const Gpt2Model& model, const MethodConfig& method,
                                               uint64_t seed = 1) {
  absl::StatusOr<std::unique_ptr<AdapterSet>> adapter = AdapterSet::Create(model, method, seed);
  EXPECT_TRUE(adapter.ok()) << adapter.status();
  return *std::move(adapter);
}

inline std::string HashOf(const AdapterSet& adapter) {
  Sha256 hash;
  for (const TrainedTensor& trained : adapter.tensors()) {
    const std::span<const std::byte> bytes = BytesOf(trained.tensor);
    hash.Update({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  return hash.Hex();
}

inline std::string FreshDirectory(const std::string& name) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/trainer_", getpid(), "_", name);
  EXPECT_TRUE(RemoveTree(path).ok());
  EXPECT_TRUE(CreateDirectories(path).ok());
  return path;
}

// The loss over the training rows themselves: three batches.
class LossEvaluator : public Evaluator {
 public:
  absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network& network, int64_t step,
                                           EvaluationKeeper& keeper, StopToken& stop) override {
    absl::StatusOr<ValidationLoss> loss = ComputeValidationLoss(network, GoldenRows(), 2, stop);
    if (!loss.ok()) return loss.status();
    EvaluationEvent event;
    event.values["eval/loss"] = loss->loss;
    return event;
  }
};

}  // namespace graft
