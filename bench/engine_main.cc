// bench_engine: the engine's training loop and generation for tools/bench, step by step, so that a
// peer can have its turn in between. Reads one JSON command a line on stdin, answers one JSON line
// each (tests/parity/line_tool.h).
//
//   {"op": "load", "model": FOLDER, "device": D, "precision": "fp32"|"bf16", "threads": N}
//       → {"bf16_native": BOOL}
//   {"op": "train", "method": {…}, "rows": [[[ID…], PROMPT_TOKENS]…], "batch_size": N, "trials": N}
//       → {} when the first step could begin. Then, up to the last step but one, or {"op": "stop"}:
//   {"op": "step"} → {"seconds": X, "loss": L}
//     trials (1): so many trainings side by side, trial i of every trials-th row from the i-th on.
//   {"op": "generate", "prompts": [[ID…]…], "max_new_tokens": N, "methods": [{…}…],
//    "one_by_one": B}
//       → {"prefill_seconds": X, "decode_seconds": X, "ids": [[ID…]…]}
//     one batch, never ended by a token; decoding is from the first new tokens on. methods: prompt
//     i is continued by the base with an adapter of the i-th, counted round and round, whose
//     tensors are random; equal commands have equal ones. one_by_one: each adapter's prompts in a
//     batch of their own.
//   {"op": "serve", "prompts": [[ID…]…], "lengths": [N…], "methods": [{…}…], "slots": N,
//    "static": B} → {"seconds": X, "ids": [[ID…]…]}
//     text i has so many tokens; so many texts at once. One that is done makes room for the next;
//     static: the next so many begin when all are done, which are computed on until then.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <deque>
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
#include "worker/engine/generation/token_batch.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/trainer.h"

namespace graft {
namespace {

using Json = nlohmann::json;

absl::Duration BoottimeNow() { return Clock::Real().Boottime(); }

// Lets the trainer do one step (of each of `trials`, which are in step) for each command, and times
// it: from the command to the end of what it left the device to do.
class OneByOne : public EventSink, public StopToken {
 public:
  OneByOne(at::Device device, int64_t trials) : device_(device), trials_(trials) {}

  absl::Status Poll() override {
    if (is_stopped_) return absl::CancelledError("told to stop");
    if (is_stepping_) return absl::OkStatus();
    Answer(answer_);
    std::string line;
    if (!std::getline(std::cin, line) || Json::parse(line).at("op") != "step") {
      is_stopped_ = true;
      return absl::CancelledError("told to stop");
    }
    is_stepping_ = true;
    done_ = 0;
    began_ = BoottimeNow();
    return absl::OkStatus();
  }
  void OnStep(const StepEvent& event) override {
    if (++done_ < trials_) return;
    if (!device_.is_cpu()) {
      c10::impl::getDeviceGuardImpl(device_.type())->synchronizeDevice(device_.index());
    }
    answer_ = {{"seconds", absl::ToDoubleSeconds(BoottimeNow() - began_)}, {"loss", event.loss}};
    is_stepping_ = false;
  }
  void OnStage(const StageEvent&) override {}
  void OnEvaluation(const EvaluationEvent&) override {}
  void OnCheckpoint(const CheckpointEvent&) override {}
  void OnSamples(int64_t, const std::string&, const std::vector<SampleTextEvent>&) override {}
  void OnWarning(const std::string&, const std::string&) override {}

 private:
  static void Answer(const Json& answer) { std::cout << answer.dump() << std::endl; }

  const at::Device device_;
  const int64_t trials_;
  int64_t done_ = 0;  // Of the trials, with the step under way.
  bool is_stepping_ = false;
  bool is_stopped_ = false;  // All trials are.
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
    if (op == "serve") return RunServing(command);
    return absl::InvalidArgumentError("unknown op " + op);
  }

 private:
  absl::StatusOr<Json> Load(const Json& command) {
    ConfigureRuntime(command.at("threads"));
    ASSIGN_OR_RETURN(const at::Device device, ResolveDevice(command.at("device")));
    const bool is_bf16 = command.at("precision") == "bf16";
    networks_.clear();
    adapters_.clear();
    methods_ = Json::array();
    model_.reset();
    ASSIGN_OR_RETURN(model_, Gpt2Model::Load(command.at("model"),
                                             {device, is_bf16 ? at::kBFloat16 : at::kFloat}));
    return Json{{"bf16_native", HasNativeBf16(device)}};
  }

  // Ends when the steps of an epoch are done, or sooner by "stop".
  absl::StatusOr<Json> RunTraining(const Json& command) {
    const int64_t trials = command.value("trials", int64_t{1});
    if (command.at("rows").size() % static_cast<size_t>(trials) != 0) {
      return absl::InvalidArgumentError("rows: as many for each trial are needed");
    }
    TrainerOptions options;
    options.config.epochs = 1;
    options.config.batch_size = command.at("batch_size");
    OneByOne steps(model_->device(), trials);
    std::vector<std::unique_ptr<AdapterSet>> adapters;
    std::deque<JsonRows> rows;
    std::vector<TrialParts> parts;
    for (int64_t trial = 0; trial < trials; ++trial) {
      ASSIGN_OR_RETURN(adapters.emplace_back(),
                       AdapterSet::Create(*model_, MethodOf(command.at("method")), 42 + trial));
      Json own = Json::array();
      for (size_t i = trial; i < command.at("rows").size(); i += trials) {
        own.push_back(command.at("rows")[i]);
      }
      parts.push_back({options, rows.emplace_back(own), *adapters.back(), nullptr, steps, steps});
    }
    for (const auto& result : TrainTogether(parts)) {
      if (!result.ok() && !absl::IsCancelled(result.status())) return result.status();
    }
    return Json::object();
  }

  // The base with an adapter of each of `methods`, all of whose tensors are random.
  absl::Status MakeNetworks(const Json& methods) {
    if (methods == methods_) return absl::OkStatus();
    networks_.clear();
    adapters_.clear();
    const c10::NoGradGuard no_grad;
    for (const Json& method : methods) {
      ASSIGN_OR_RETURN(std::unique_ptr<AdapterSet> adapter,
                       AdapterSet::Create(*model_, MethodOf(method), 42 + adapters_.size()));
      at::manual_seed(adapters_.size());
      for (const TrainedTensor& trained : adapter->tensors()) {
        trained.tensor.add_(at::randn_like(trained.tensor), 0.01);
      }
      networks_.push_back(adapter->Bind());
      adapters_.push_back(std::move(adapter));
    }
    methods_ = methods;
    return absl::OkStatus();
  }

  absl::StatusOr<Json> RunGeneration(const Json& command) {
    const auto ids = command.at("prompts").get<std::vector<std::vector<int32_t>>>();
    RETURN_IF_ERROR(MakeNetworks(command.value("methods", Json::array())));
    std::vector<std::vector<size_t>> batches(1);
    const bool is_one_by_one = command.value("one_by_one", false);
    if (is_one_by_one) batches.resize(networks_.size());
    for (size_t i = 0; i < ids.size(); ++i) batches[i % batches.size()].push_back(i);
    GeneratorOptions options;
    options.max_new_tokens = command.at("max_new_tokens");
    options.batch_size = static_cast<int64_t>(ids.size());
    options.end_of_text_id = -1;
    Json texts(ids.size(), Json::array());
    absl::Duration prefill, decode;
    NoStop stop;
    for (const std::vector<size_t>& batch : batches) {
      std::vector<Prompt> prompts;
      for (const size_t i : batch) {
        const Gpt2Network& network =
            networks_.empty() ? model_->network() : networks_[i % networks_.size()];
        prompts.push_back({&network, ids[i]});
      }
      size_t tokens = 0;
      absl::Duration first;
      const absl::Duration begin = BoottimeNow();
      ASSIGN_OR_RETURN(const std::vector<Generated> generated,
                       Generate(prompts, options, stop, [&](int64_t, int32_t) {
                         if (++tokens == prompts.size()) first = BoottimeNow();
                       }));
      prefill += first - begin;
      decode += BoottimeNow() - first;
      for (size_t i = 0; i < batch.size(); ++i) texts[batch[i]] = generated[i].ids;
    }
    return Json{{"prefill_seconds", absl::ToDoubleSeconds(prefill)},
                {"decode_seconds", absl::ToDoubleSeconds(decode)},
                {"ids", std::move(texts)}};
  }

  absl::StatusOr<Json> RunServing(const Json& command) {
    const auto prompts = command.at("prompts").get<std::vector<std::vector<int32_t>>>();
    const auto lengths = command.at("lengths").get<std::vector<int64_t>>();
    const size_t slots = command.at("slots");
    const bool is_static = command.at("static");
    RETURN_IF_ERROR(MakeNetworks(command.at("methods")));
    const c10::NoGradGuard no_grad;
    const Decoding greedy{GenerationConfig()};
    std::vector<std::vector<int32_t>> texts(prompts.size());
    int64_t computed_to = 0;  // Of static batches: the longest text's length.
    const absl::Duration begin = BoottimeNow();
    TokenBatch batch(model_->network(), 0, [&](const TokenBatch::Row& row, int32_t id, float) {
      const auto i = static_cast<size_t>(row.index);
      if (row.new_tokens < lengths[i]) texts[i].push_back(id);
      return row.new_tokens + 1 < (is_static ? computed_to : lengths[i]);
    });
    for (size_t next = 0; next < prompts.size() || batch.size() > 0;) {
      const size_t free = slots - static_cast<size_t>(batch.size());
      const size_t end = std::min(prompts.size(), next + free);
      if (next < end && (!is_static || batch.size() == 0)) {
        std::vector<TokenBatch::Row> rows;
        computed_to = *std::max_element(lengths.begin() + static_cast<int64_t>(next),
                                        lengths.begin() + static_cast<int64_t>(end));
        for (; next < end; ++next) {
          const Gpt2Network& network = networks_[next % networks_.size()];
          batch.Reserve(static_cast<int64_t>(slots), network.num_virtual_tokens() +
                                                         std::ssize(prompts[next]) +
                                                         (is_static ? computed_to : lengths[next]));
          rows.push_back({.index = static_cast<int64_t>(next),
                          .network = &network,
                          .decoding = &greedy,
                          .sequence = prompts[next]});
        }
        batch.Begin(std::move(rows));
      }
      if (batch.size() > 0) batch.Step();
    }
    return Json{{"seconds", absl::ToDoubleSeconds(BoottimeNow() - begin)}, {"ids", texts}};
  }

  std::unique_ptr<Gpt2Model> model_;
  Json methods_ = Json::array();  // Of the networks.
  std::vector<std::unique_ptr<AdapterSet>> adapters_;
  std::vector<Gpt2Network> networks_;
};

}  // namespace
}  // namespace graft

int main() {
  graft::Tool tool;
  return graft::AnswerEngineLines([&](const graft::Json& command) { return tool.Run(command); });
}
