// Training runs against torch.optim.AdamW on transformers and PEFT, in float64: order of the data,
// partial batches and windows, token mean, clipping, decay groups, warm-up, a rate for each part.

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "common/methods/full.h"
#include "tests/worker/engine/golden.h"
#include "tests/worker/engine/recording_sink.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/training/batch.h"
#include "worker/engine/training/trainer.h"

namespace graft {
namespace {

TrainerOptions GoldenOptions() {
  TrainerOptions options;
  options.config.epochs = 3;
  options.config.batch_size = 2;
  options.config.gradient_accumulation_steps = 2;
  options.config.warmup_steps = 2;
  options.config.weight_decay = 0.1;
  options.config.max_grad_norm = 0.5;
  options.config.learning_rates = {
      {"lora", 2e-2}, {"soft_prompt", 3e-2}, {"last_layers", 1e-2}, {"full", 5e-3}};
  return options;
}

std::unique_ptr<AdapterSet> GoldenAdapter(const Gpt2Model& model, const std::string& name) {
  absl::StatusOr<std::unique_ptr<AdapterSet>> adapter =
      name == "full" ? AdapterSet::Create(model, MethodConfig().Set(FullConfig()), 1)
                     : AdapterSet::Load(model, GoldenPath("adapters/" + name));
  EXPECT_TRUE(adapter.ok()) << adapter.status();
  return *std::move(adapter);
}

std::vector<double> Doubles(const at::Tensor& tensor) {
  const double* values = tensor.const_data_ptr<double>();
  return {values, values + tensor.numel()};
}

class GoldenTrainingTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenTrainingTest, AdapterByPeftGivesTheSameLogits) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const std::unique_ptr<AdapterSet> adapter = GoldenAdapter(*model, GetParam());
  const Gpt2Network network = adapter->Bind();
  const at::Tensor golden = GoldenTensor(std::string(GetParam()) + "/logits");
  const int64_t prompt = network.num_virtual_tokens();
  const at::Tensor hidden =
      HiddenStates(network, GoldenIds(), at::arange(3 * (prompt + 12), at::kLong), nullptr);
  const at::Tensor logits = Logits(network, hidden).view({3, prompt + 12, 48});
  const GoldenRows rows;
  for (int64_t row = 0; row < 3; ++row) {
    const int64_t length = prompt + static_cast<int64_t>(rows.Get(row).ids.size());
    EXPECT_LT(RelativeDifference(logits[row].narrow(0, 0, length),
                                 golden[row].narrow(0, golden.size(1) - prompt - 12, length)),
              1e-12);
  }
}

TEST_P(GoldenTrainingTest, FirstGradientsAreThoseOfTheReference) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const std::unique_ptr<AdapterSet> adapter = GoldenAdapter(*model, GetParam());
  const Gpt2Network network = adapter->Bind();
  // The rows of the first step: torch.randperm(5) seeded with 42 begins so.
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU).clone();
  generator.set_current_seed(42);
  const at::Tensor order = at::randperm(5, generator, at::kLong);
  const std::vector<int64_t> rows(order.const_data_ptr<int64_t>(),
                                  order.const_data_ptr<int64_t>() + 4);
  const Batch batch = MakeBatch(GoldenRows(), rows, network.num_virtual_tokens(), at::kCPU);
  const at::Tensor hidden = HiddenStates(network, batch.ids, batch.positions, nullptr);
  LabelLoss(network, hidden, batch.targets, 1.0 / static_cast<double>(batch.num_labels()))
      .backward();
  for (const TrainedTensor& trained : adapter->tensors()) {
    const at::Tensor golden = GoldenTensor(std::string(GetParam()) + "/grad/" + trained.name);
    EXPECT_LT((trained.tensor.grad() - golden).norm().item<double>(),
              1e-11 * std::max(1e-3, golden.norm().item<double>()))
        << trained.name;
  }
}

TEST_P(GoldenTrainingTest, EveryStepAndTheFinalTensorsAreThoseOfTheReference) {
  const std::string name = GetParam();
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const std::unique_ptr<AdapterSet> adapter = GoldenAdapter(*model, name);
  RecordingSink sink;
  NoStop stop;
  const absl::StatusOr<TrainingResult> result =
      Train(GoldenOptions(), GoldenRows(), *adapter, nullptr, sink, stop);
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<double> losses = Doubles(GoldenTensor(name + "/loss"));
  const std::vector<double> norms = Doubles(GoldenTensor(name + "/grad_norm"));
  ASSERT_EQ(sink.steps.size(), losses.size());
  for (size_t step = 0; step < losses.size(); ++step) {
    EXPECT_NEAR(sink.steps[step].loss / losses[step], 1, 1e-10) << "step " << step;
    EXPECT_NEAR(sink.steps[step].grad_norm / norms[step], 1, 1e-10) << "step " << step;
  }
  for (const TrainedTensor& trained : adapter->tensors()) {
    const at::Tensor golden = GoldenTensor(name + "/final/" + trained.name);
    EXPECT_LT((trained.tensor - golden).norm().item<double>(), 1e-9 * golden.norm().item<double>())
        << trained.name;
  }
}

TEST_P(GoldenTrainingTest, SinglePrecisionFollowsTheSameLosses) {
  const std::string name = GetParam();
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  const std::unique_ptr<AdapterSet> adapter = GoldenAdapter(*model, name);
  RecordingSink sink;
  NoStop stop;
  ASSERT_TRUE(Train(GoldenOptions(), GoldenRows(), *adapter, nullptr, sink, stop).ok());
  const std::vector<double> losses = Doubles(GoldenTensor(name + "/loss"));
  ASSERT_EQ(sink.steps.size(), losses.size());
  for (size_t step = 0; step < losses.size(); ++step) {
    EXPECT_NEAR(sink.steps[step].loss / losses[step], 1, 1e-4) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, GoldenTrainingTest,
                         ::testing::Values("lora", "lora_rslora", "soft_prompt", "last_layers",
                                           "lora_last_layers", "lora_soft_prompt", "full"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace graft
