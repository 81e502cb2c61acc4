// bench_engine: the engine's training loop and generation for tools/bench, step by step, so that a
// peer can have its turn in between. Reads one JSON command a line on stdin, answers one JSON line
// each (tests/parity/line_tool.h).
//
//   {"op": "load", "model": FOLDER, "device": D, "precision": "fp32"|"bf16", "threads": N}
//       → {"bf16_native": BOOL}
//   {"op": "train", "method": {…}, "rows": [[[ID…], PROMPT_TOKENS]…], "batch_size": N}
//       → {} when the first step could begin. Then, up to the last step but one, or {"op": "stop"}:
//   {"op": "step"} → {"seconds": X, "loss": L}
//   {"op": "generate", "prompts": [[ID…]…], "max_new_tokens": N}
//       → {"prefill_seconds": X, "decode_seconds": X, "ids": [[ID…]…]}
//     one batch, never ended by a token; decoding is from the first new tokens on.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/methods/full.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/soft_prompt.h"
#include "tests/parity/engine_lines.h"
#include "worker/engine/adapters/adapter_set.h"
#include "worker/engine/generation/generator.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/trainer.h"

namespace graft {
namespace {

using Json = nlohmann::json;

absl::Duration BoottimeNow() { return Clock::Real().Boottime(); }

// Lets the trainer do one step for each command, and times it: from the command to the end of what
// it left the device to do.
class OneByOne : public EventSink, public StopToken {
 public:
  explicit OneByOne(at::Device device) : device_(device) {}

  absl::Status Poll() override {
    if (is_stepping_) return absl::OkStatus();
    Answer(answer_);
    std::string line;
    if (!std::getline(std::cin, line) || Json::parse(line).at("op") != "step") {
      return absl::CancelledError("told to stop");
    }
    is_stepping_ = true;
    began_ = BoottimeNow();
    return absl::OkStatus();
  }
  void OnStep(const StepEvent& event) override {
    if (!device_.is_cpu()) {
      c10::impl::getDeviceGuardImpl(device_.type())->synchronizeDevice(device_.index());
    }
    answer_ = {{"seconds", absl::ToDoubleSeconds(BoottimeNow() - began_)}, {"loss", event.loss}};
    is_stepping_ = false;
  }
  void OnStage(const StageEvent&) override {}
  void OnEvaluation(const EvaluationEvent&) override {}
  void OnCheckpoint(const CheckpointEvent&) override {}
  void OnSamples(int64_t, const std::vector<SampleTextEvent>&) override {}
  void OnWarning(const std::string&, const std::string&) override {}

 private:
  static void Answer(const Json& answer) { std::cout << answer.dump() << std::endl; }

  const at::Device device_;
  bool is_stepping_ = false;
  absl::Duration began_;
  Json answer_ = Json::object();  // Of the step before; at first: ready.
};

MethodConfig MethodOf(const Json& json) {
  MethodConfig method;
  if (json.contains("full")) method.Set(FullConfig());
  if (json.contains("lora")) method.Get<LoraConfig>().rank = json["lora"].at("rank");
  if (json.contains("soft_prompt")) {
    method.Get<SoftPromptConfig>().num_virtual_tokens =
        json["soft_prompt"].at("num_virtual_tokens");
  }
  if (json.contains("last_layers")) {
    method.Get<LastLayersConfig>().num_layers = json["last_layers"].at("num_layers");
  }
  return method;
}

class Tool {
 public:
  absl::StatusOr<Json> Run(const Json& command) {
    const std::string op = command.at("op").get<std::string>();
    if (op == "load") return Load(command);
    if (model_ == nullptr) return absl::FailedPreconditionError("no model is loaded");
    if (op == "train") return RunTraining(command);
    if (op == "generate") return RunGeneration(command);
    return absl::InvalidArgumentError("unknown op " + op);
  }

 private:
  absl::StatusOr<Json> Load(const Json& command) {
    ConfigureRuntime(command.at("threads"));
    ASSIGN_OR_RETURN(const at::Device device, ResolveDevice(command.at("device")));
    const bool is_bf16 = command.at("precision") == "bf16";
    model_.reset();
    ASSIGN_OR_RETURN(model_, Gpt2Model::Load(command.at("model"),
                                             {device, is_bf16 ? at::kBFloat16 : at::kFloat}));
    return Json{{"bf16_native", HasNativeBf16(device)}};
  }

  // Ends when the steps of an epoch are done, or sooner by "stop".
  absl::StatusOr<Json> RunTraining(const Json& command) {
    ASSIGN_OR_RETURN(const std::unique_ptr<AdapterSet> adapter,
                     AdapterSet::Create(*model_, MethodOf(command.at("method")), 42));
    TrainerOptions options;
    options.config.epochs = 1;
    options.config.batch_size = command.at("batch_size");
    OneByOne steps(model_->device());
    const absl::Status ended =
        Train(options, JsonRows(command.at("rows")), *adapter, nullptr, steps, steps).status();
    if (!ended.ok() && !absl::IsCancelled(ended)) return ended;
    return Json::object();
  }

  absl::StatusOr<Json> RunGeneration(const Json& command) {
    const auto prompts = command.at("prompts").get<std::vector<std::vector<int32_t>>>();
    GeneratorOptions options;
    options.max_new_tokens = command.at("max_new_tokens");
    options.batch_size = static_cast<int64_t>(prompts.size());
    options.end_of_text_id = -1;
    size_t tokens = 0;
    absl::Duration first;
    NoStop stop;
    const absl::Duration begin = BoottimeNow();
    ASSIGN_OR_RETURN(const std::vector<Generated> generated,
                     Generate(model_->network(), prompts, options, stop, [&](int64_t, int32_t) {
                       if (++tokens == prompts.size()) first = BoottimeNow();
                     }));
    const absl::Duration end = BoottimeNow();
    Json ids = Json::array();
    for (const Generated& row : generated) ids.push_back(row.ids);
    return Json{{"prefill_seconds", absl::ToDoubleSeconds(first - begin)},
                {"decode_seconds", absl::ToDoubleSeconds(end - first)},
                {"ids", std::move(ids)}};
  }

  std::unique_ptr<Gpt2Model> model_;
};

}  // namespace
}  // namespace graft

int main() {
  graft::Tool tool;
  return graft::AnswerEngineLines([&](const graft::Json& command) { return tool.Run(command); });
}
