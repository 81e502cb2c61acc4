// Times the training step on GPT-2 small of random weights: rows of equal length, some of their
// tokens labelled. Prints one JSON line. bench/train_step.py runs it beside transformers + PEFT.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/trainer.h"

namespace graft {
namespace {

struct Shape {
  std::string method = "lora";
  std::string precision = "fp32";
  int threads = 2;
  int64_t steps = 6;
  int64_t batch = 4;
  int64_t length = 512;
  int64_t labels = 46;  // A row: 9 % of 512, as on CNN/DailyMail.
};

Gpt2Model RandomModel(at::ScalarType dtype) {
  Gpt2Config config;  // GPT-2 small
  Gpt2Network network;
  network.num_heads = config.n_head;
  network.blocks.resize(config.n_layer);
  const auto options = at::TensorOptions().dtype(dtype);
  const auto random = [&](at::IntArrayRef shape) {
    return at::empty(shape, at::kFloat).normal_(0, 0.02).to(dtype);
  };
  absl::flat_hash_map<std::string, std::vector<int64_t>> shapes;
  for (const TensorShape& tensor : Gpt2TensorShapes(config, false)) {
    shapes[tensor.name] = tensor.shape;
  }
  for (const NamedTensor& named : NamedTensors(network, false)) {
    const std::vector<int64_t>& shape = shapes.at(named.name);
    *named.tensor = shape.size() == 2 ? random(shape) : at::zeros(shape, options);
    if (named.name.find("ln_") != std::string::npos && named.name.ends_with("weight")) {
      named.tensor->fill_(1);
    }
  }
  network.lm_head = network.wte;
  return Gpt2Model(config, network);
}

class RandomRows : public ExampleSource {
 public:
  explicit RandomRows(const Shape& shape) : shape_(shape) {
    uint64_t state = 1;
    for (int64_t i = 0; i < shape.batch * shape.steps * shape.length; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      ids_.push_back(static_cast<int32_t>((state >> 33) % 50257));
    }
  }
  int64_t size() const override { return shape_.batch * shape_.steps; }
  Example Get(int64_t index) const override {
    return {std::span(ids_).subspan(index * shape_.length, shape_.length),
            shape_.length - shape_.labels};
  }

 private:
  Shape shape_;
  std::vector<int32_t> ids_;
};

class Timer : public EventSink {
 public:
  void OnStage(const StageEvent&) override {}
  void OnStep(const StepEvent& event) override { rates.push_back(event.tokens_per_second); }
  void OnEvaluation(const EvaluationEvent&) override {}
  void OnCheckpoint(const CheckpointEvent&) override {}
  void OnSamples(int64_t, const std::vector<SampleTextEvent>&) override {}
  void OnWarning(const std::string&, const std::string&) override {}
  std::vector<double> rates;
};

MethodConfig MethodOf(const std::string& name) {
  MethodConfig method;
  if (name == "lora") method.lora.emplace();
  if (name == "soft_prompt") method.soft_prompt.emplace();
  if (name == "last_layers") method.last_layers.emplace();
  method.full = name == "full";
  return method;
}

absl::Status Run(const Shape& shape) {
  ConfigureRuntime(shape.threads);
  const at::ScalarType dtype =
      ResolvePrecision(shape.precision == "bf16" ? Precision::kBf16 : Precision::kFp32, at::kCPU);
  const Gpt2Model model = RandomModel(dtype);
  absl::StatusOr<std::unique_ptr<AdapterSet>> adapter =
      AdapterSet::Create(model, MethodOf(shape.method), 42);
  if (!adapter.ok()) return adapter.status();
  TrainerOptions options;
  options.config.epochs = 1;
  options.config.batch_size = shape.batch;
  Timer timer;
  NoStop stop;
  const absl::StatusOr<TrainingResult> result =
      Train(options, RandomRows(shape), **adapter, nullptr, timer, stop);
  if (!result.ok()) return result.status();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::vector<double> rates(timer.rates.begin() + 1, timer.rates.end());  // The first warms up.
  std::sort(rates.begin(), rates.end());
  const nlohmann::json line = {
      {"program", "graft"},
      {"method", shape.method},
      {"precision", shape.precision},
      {"threads", shape.threads},
      {"tokens_per_second", rates[rates.size() / 2]},
      {"cpu_seconds", usage.ru_utime.tv_sec + usage.ru_utime.tv_usec * 1e-6},
      {"peak_rss_gb", usage.ru_maxrss / 1048576.0}};
  std::puts(line.dump().c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  graft::Shape shape;
  CLI::App app{"Times graft's training step on GPT-2 small of random weights."};
  app.add_option("--method", shape.method, "lora, soft_prompt, last_layers, full");
  app.add_option("--precision", shape.precision, "fp32 or bf16");
  app.add_option("--threads", shape.threads);
  app.add_option("--steps", shape.steps, "the first is not counted");
  app.add_option("--batch", shape.batch);
  app.add_option("--length", shape.length);
  app.add_option("--labels", shape.labels, "labelled tokens a row");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = graft::Run(shape);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
