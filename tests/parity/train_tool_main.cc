// graft-train-tool: gives the engine's training loop, forward pass and generation to the parity
// tests, which run transformers and PEFT beside it. Reads one JSON command a line on stdin, answers
// one JSON line each. For tests only.
//
//   {"op": "load", "model": FOLDER, "precision": "fp32"|"fp64"|"bf16", "threads": N}
//   {"op": "train", "method": {…}, "training": {…}, "rows": [[[ID…], PROMPT_TOKENS]…],
//    "adapter": FOLDER, "weights": FOLDER, "scratch": FOLDER}
//       → {"steps": [[LOSS, GRAD_NORM, LEARNING_RATE, EPOCH]…], "names": […]}
//     adapter: its values come first, before the first step. weights: {k}.safetensors in it
//     replaces the trained tensors before step k. scratch: step/{k}/state.safetensors is left
//     there for each step k from 1, and initial.safetensors.
//   {"op": "train_together", "trials": [{…}…]} → {"trials": [{…}…]}
//     side by side on the base; of each what "train" takes and answers.
//   {"op": "gradients", "method", "rows", "adapter", "out": FILE} → {"loss": X}
//     of the mean over all labels, rows in one batch.
//   {"op": "hidden", "adapter", "ids": [[ID…]…], "out": FILE}
//     hidden.{l} [B, P + T, C] after l blocks, logits [B, P + T, V]; P virtual tokens.
//   {"op": "generate", "adapter", "prompts": [[ID…]…], "generation": {…}, "max_new_tokens": N,
//    "batch_size": B, "end_of_text": ID} → {"ids": [[ID…]…], "ended": [BOOL…]}
//     "adapters": [FOLDER…] instead: one for each prompt, "" for the base alone.
//   {"op": "probabilities", "logits": [X…], "ids": [ID…], "generation": {…}}
//       → {"probabilities": [P…]} of the next token, sampled, after `ids`
// generation: graft.v1.GenerationOptions, early_stopping as false, true or "never".
// What fails answers {"error": MESSAGE}.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/safetensors.h"
#include "common/methods/dora.h"
#include "common/methods/full.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/prefix_tuning.h"
#include "common/methods/soft_prompt.h"
#include "tests/parity/engine_lines.h"
#include "worker/engine/adapters/adapter_set.h"
#include "worker/engine/generation/generator.h"
#include "worker/engine/generation/logits_rules.h"
#include "worker/engine/generation/sampler.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/gpt2/tensor_io.h"
#include "worker/engine/training/batch.h"
#include "worker/engine/training/trainer.h"

namespace graft {
namespace {

using Json = nlohmann::json;
using Named = std::vector<std::pair<std::string, at::Tensor>>;

absl::Status WriteTensors(const Named& tensors, const std::string& path) {
  std::vector<TensorView> views;
  Named kept;
  for (const auto& [name, tensor] : tensors) {
    kept.emplace_back(name, tensor.detach().to(at::kCPU).contiguous());
    const TensorInfo info = InfoOf(name, kept.back().second);
    TensorView view;
    view.name = info.name;
    view.dtype = info.dtype;
    view.shape = info.shape;
    view.bytes = BytesOf(kept.back().second);
    views.push_back(std::move(view));
  }
  return WriteSafetensorsFile(path, views);
}

Named Trained(const AdapterSet& adapter) {
  Named tensors;
  for (const TrainedTensor& trained : adapter.tensors()) {
    tensors.emplace_back(trained.name, trained.tensor);
  }
  return tensors;
}

absl::Status CopyIn(const std::string& path, const AdapterSet& adapter) {
  ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  c10::NoGradGuard no_grad;
  for (const auto& [name, tensor] : Trained(adapter)) {
    const TensorView* view = file.Find(name);
    if (view == nullptr) return absl::NotFoundError(absl::StrCat(path, ": has no ", name));
    ASSIGN_OR_RETURN(const at::Tensor value, TensorFromView(*view));
    tensor.copy_(value);
  }
  return absl::OkStatus();
}

// Notes the numbers of each step, and puts given weights in place before it begins.
class Steps : public EventSink, public StopToken {
 public:
  Steps(const AdapterSet& adapter, std::string weights)
      : adapter_(adapter), weights_(std::move(weights)) {}

  absl::Status Poll() override {
    if (weights_.empty() || !begins_) return absl::OkStatus();
    begins_ = false;
    return CopyIn(absl::StrCat(weights_, "/", numbers.size() + 1, ".safetensors"), adapter_);
  }
  void OnStep(const StepEvent& event) override {
    numbers.push_back({event.loss, event.grad_norm, event.learning_rate, event.epoch});
    begins_ = true;
  }
  void OnStage(const StageEvent&) override {}
  void OnEvaluation(const EvaluationEvent&) override {}
  void OnCheckpoint(const CheckpointEvent&) override {}
  void OnSamples(int64_t, const std::string&, const std::vector<SampleTextEvent>&) override {}
  void OnWarning(const std::string&, const std::string&) override {}

  std::vector<std::vector<double>> numbers;

 private:
  const AdapterSet& adapter_;
  const std::string weights_;
  bool begins_ = true;
};

MethodConfig MethodOf(const Json& json) {
  MethodConfig method;
  if (json.contains("full")) method.Set(FullConfig());
  if (json.contains("lora")) {
    const Json& from = json["lora"];
    LoraConfig& lora = method.Get<LoraConfig>();
    lora.rank = from.value("rank", lora.rank);
    lora.alpha = from.value("alpha", lora.alpha);
    lora.target_modules = from.value("target_modules", lora.target_modules);
    lora.layers = from.value("layers", lora.layers);
    lora.use_rslora = from.value("use_rslora", lora.use_rslora);
    if (from.value("use_dora", false)) {
      method.Set(DoraConfig{lora});
      method.Remove<LoraConfig>();
    }
  }
  if (json.contains("soft_prompt")) {
    using Init = SoftPromptConfig::Init;
    static const auto& inits = *new std::map<std::string, Init>{
        {"random", Init::kRandom}, {"vocabulary", Init::kVocabulary}, {"text", Init::kText}};
    const Json& from = json["soft_prompt"];
    SoftPromptConfig& prompt = method.Get<SoftPromptConfig>();
    prompt.num_virtual_tokens = from.value("num_virtual_tokens", prompt.num_virtual_tokens);
    prompt.init = inits.at(from.value("init", "vocabulary"));
    prompt.init_text_ids = from.value("init_text_ids", prompt.init_text_ids);
  }
  if (json.contains("prefix_tuning")) {
    PrefixTuningConfig& prefix = method.Get<PrefixTuningConfig>();
    prefix.num_virtual_tokens =
        json["prefix_tuning"].value("num_virtual_tokens", prefix.num_virtual_tokens);
  }
  if (json.contains("last_layers")) {
    const Json& from = json["last_layers"];
    LastLayersConfig& last = method.Get<LastLayersConfig>();
    last.num_layers = from.value("num_layers", last.num_layers);
    last.include_final_norm = from.value("include_final_norm", last.include_final_norm);
    last.include_lm_head = from.value("include_lm_head", last.include_lm_head);
  }
  return method;
}

TrainingConfig TrainingOf(const Json& json) {
  static const auto& schedules =
      *new std::map<std::string, Schedule>{{"linear", Schedule::kLinear},
                                           {"cosine", Schedule::kCosine},
                                           {"constant", Schedule::kConstant}};
  TrainingConfig config;
  config.max_steps = json.value("max_steps", config.max_steps);
  config.batch_size = json.value("batch_size", config.batch_size);
  config.gradient_accumulation_steps =
      json.value("gradient_accumulation_steps", config.gradient_accumulation_steps);
  config.schedule = schedules.at(json.value("schedule", "linear"));
  config.warmup_steps = json.value("warmup_steps", config.warmup_steps);
  config.warmup_ratio = json.value("warmup_ratio", config.warmup_ratio);
  config.weight_decay = json.value("weight_decay", config.weight_decay);
  config.beta1 = json.value("beta1", config.beta1);
  config.max_grad_norm = json.value("max_grad_norm", config.max_grad_norm);
  config.seed = json.value("seed", config.seed);
  config.checkpoint_every_steps = 1;
  config.checkpoint_keep_last = 1 << 20;
  return config;
}

GenerationConfig GenerationOf(const Json& json) {
  GenerationConfig config;
  config.do_sample = json.value("do_sample", config.do_sample);
  config.temperature = json.value("temperature", config.temperature);
  config.top_k = json.value("top_k", config.top_k);
  config.top_p = json.value("top_p", config.top_p);
  config.seed = json.value("seed", config.seed);
  config.num_beams = json.value("num_beams", config.num_beams);
  config.length_penalty = json.value("length_penalty", config.length_penalty);
  const Json stopping = json.value("early_stopping", Json(false));
  if (stopping == Json(true)) config.early_stopping = BeamEarlyStopping::kTrue;
  if (stopping == Json("never")) config.early_stopping = BeamEarlyStopping::kNever;
  config.repetition_penalty = json.value("repetition_penalty", config.repetition_penalty);
  config.no_repeat_ngram_size = json.value("no_repeat_ngram_size", config.no_repeat_ngram_size);
  return config;
}

absl::StatusOr<Json> Probabilities(const Json& command) {
  auto logits = command.at("logits").get<std::vector<float>>();
  const GenerationConfig config = GenerationOf(command.at("generation"));
  const std::vector<std::vector<int32_t>> ids = {command.at("ids").get<std::vector<int32_t>>()};
  LogitsRules(config).Apply(ids,
                            at::from_blob(logits.data(), {1, static_cast<int64_t>(logits.size())}));
  return Json{{"probabilities", Sampler(config).Probabilities(logits)}};
}

class Tool {
 public:
  absl::StatusOr<Json> Run(const Json& command) {
    const std::string op = command.at("op").get<std::string>();
    if (op == "load") return Load(command);
    if (op == "probabilities") return Probabilities(command);
    if (model_ == nullptr) return absl::FailedPreconditionError("no model is loaded");
    if (op == "train") return RunTraining(command);
    if (op == "train_together") return RunTogether(command);
    if (op == "gradients") return Gradients(command);
    if (op == "hidden") return Hidden(command);
    if (op == "generate") return RunGeneration(command);
    return absl::InvalidArgumentError("unknown op " + op);
  }

 private:
  absl::StatusOr<Json> Load(const Json& command) {
    static const auto& types = *new std::map<std::string, at::ScalarType>{
        {"fp32", at::kFloat}, {"fp64", at::kDouble}, {"bf16", at::kBFloat16}};
    ConfigureRuntime(command.value("threads", 1));
    model_.reset();
    ASSIGN_OR_RETURN(model_, Gpt2Model::Load(command.at("model"),
                                             {at::kCPU, types.at(command.at("precision"))}));
    return Json{{"parameters", model_->num_parameters()}};
  }

  absl::StatusOr<std::unique_ptr<AdapterSet>> MakeAdapter(const Json& command) {
    const TrainingConfig training = TrainingOf(command.value("training", Json::object()));
    ASSIGN_OR_RETURN(std::unique_ptr<AdapterSet> adapter,
                     AdapterSet::Create(*model_, MethodOf(command.at("method")), training.seed));
    const std::string folder = command.value("adapter", "");
    if (folder.empty()) return adapter;
    ASSIGN_OR_RETURN(const std::unique_ptr<AdapterSet> given, AdapterSet::Load(*model_, folder));
    RETURN_IF_ERROR(adapter->CopyFrom(*given));
    return adapter;
  }

  absl::StatusOr<Json> RunTraining(const Json& command) {
    ASSIGN_OR_RETURN(const Json answer, RunTogether({{"trials", {command}}}));
    return answer["trials"][0];
  }

  absl::StatusOr<Json> RunTogether(const Json& command) {
    std::deque<std::unique_ptr<AdapterSet>> adapters;
    std::deque<TrainerOptions> options;
    std::deque<JsonRows> rows;
    std::deque<Steps> steps;
    std::vector<TrialParts> parts;
    for (const Json& trial : command.at("trials")) {
      ASSIGN_OR_RETURN(adapters.emplace_back(), MakeAdapter(trial));
      AdapterSet& adapter = *adapters.back();
      const std::string scratch = trial.at("scratch");
      RETURN_IF_ERROR(WriteTensors(Trained(adapter), JoinPath(scratch, "initial.safetensors")));
      options.emplace_back().config = TrainingOf(trial.at("training"));
      options.back().checkpoint_directory = JoinPath(scratch, "step");
      RETURN_IF_ERROR(CreateDirectories(options.back().checkpoint_directory));
      steps.emplace_back(adapter, trial.value("weights", ""));
      parts.push_back({options.back(), rows.emplace_back(trial.at("rows")), adapter, nullptr,
                       steps.back(), steps.back()});
    }
    for (const auto& result : TrainTogether(parts)) RETURN_IF_ERROR(result.status());
    Json answers = Json::array();
    for (size_t i = 0; i < parts.size(); ++i) {
      Json names = Json::array();
      for (const TrainedTensor& trained : adapters[i]->tensors()) names.push_back(trained.name);
      answers.push_back({{"steps", steps[i].numbers}, {"names", names}});
    }
    return Json{{"trials", answers}};
  }

  absl::StatusOr<Json> Gradients(const Json& command) {
    ASSIGN_OR_RETURN(const std::unique_ptr<AdapterSet> adapter, MakeAdapter(command));
    const JsonRows source(command.at("rows"));
    std::vector<int64_t> rows(source.size());
    std::iota(rows.begin(), rows.end(), 0);
    const Gpt2Network network = adapter->Bind();
    const Batch batch = MakeBatch(source, rows, network.num_prompt_rows(), at::kCPU);
    const at::Tensor hidden = HiddenStates(network, batch.ids, batch.positions, nullptr);
    const at::Tensor loss =
        LabelLoss(network, hidden, batch.targets, 1.0 / static_cast<double>(batch.num_labels()));
    loss.backward();
    Named gradients;
    for (const auto& [name, tensor] : Trained(*adapter)) {
      gradients.emplace_back(name,
                             tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor));
    }
    RETURN_IF_ERROR(WriteTensors(gradients, command.at("out")));
    return Json{{"loss", loss.item<double>()}};
  }

  // `adapter` is filled where the command names one; it must live as long as the network.
  absl::StatusOr<Gpt2Network> Network(const Json& command, std::unique_ptr<AdapterSet>& adapter) {
    if (!command.contains("adapter")) return model_->network();
    ASSIGN_OR_RETURN(adapter, AdapterSet::Load(*model_, command["adapter"]));
    return adapter->Bind();
  }

  absl::StatusOr<Json> RunGeneration(const Json& command) {
    c10::NoGradGuard no_grad;
    const auto texts = command.at("prompts").get<std::vector<std::vector<int32_t>>>();
    std::deque<std::unique_ptr<AdapterSet>> adapters;
    std::map<std::string, Gpt2Network> networks;
    std::vector<Prompt> prompts;
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string folder = command.contains("adapters")
                                     ? command["adapters"][i].get<std::string>()
                                     : command.value("adapter", "");
      auto found = networks.find(folder);
      if (found == networks.end()) {
        Json own = Json::object();
        if (!folder.empty()) own["adapter"] = folder;
        ASSIGN_OR_RETURN(Gpt2Network network, Network(own, adapters.emplace_back()));
        found = networks.emplace(folder, std::move(network)).first;
      }
      prompts.push_back({&found->second, texts[i], static_cast<int64_t>(i)});
    }
    GeneratorOptions options;
    options.generation = GenerationOf(command.at("generation"));
    options.max_new_tokens = command.at("max_new_tokens");
    options.batch_size = command.at("batch_size");
    options.end_of_text_id = command.at("end_of_text");
    NoStop stop;
    ASSIGN_OR_RETURN(const std::vector<Generated> generated, Generate(prompts, options, stop));
    Json ids = Json::array(), ended = Json::array();
    for (const Generated& row : generated) {
      ids.push_back(row.ids);
      ended.push_back(row.ended);
    }
    return Json{{"ids", ids}, {"ended", ended}};
  }

  absl::StatusOr<Json> Hidden(const Json& command) {
    c10::NoGradGuard no_grad;
    std::unique_ptr<AdapterSet> adapter;
    ASSIGN_OR_RETURN(const Gpt2Network network, Network(command, adapter));
    const auto rows = command.at("ids").get<std::vector<std::vector<int64_t>>>();
    std::vector<at::Tensor> ids;
    for (const std::vector<int64_t>& row : rows) ids.push_back(at::tensor(row, at::kLong));
    const at::Tensor batch = at::stack(ids);
    const int64_t total = network.num_prompt_rows() + batch.size(1);
    const at::Tensor positions = at::arange(batch.size(0) * total, at::kLong);
    Named tensors;
    at::Tensor state;
    for (int64_t layers = 0; layers <= network.num_layers(); ++layers) {
      Gpt2Network shorter = network;
      shorter.blocks.resize(layers);
      state = HiddenStates(shorter, batch, positions, nullptr);
      tensors.emplace_back(absl::StrCat("hidden.", layers), state.view({batch.size(0), total, -1}));
    }
    tensors.emplace_back("logits", Logits(network, state).view({batch.size(0), total, -1}));
    RETURN_IF_ERROR(WriteTensors(tensors, command.at("out")));
    return Json::object();
  }

  std::unique_ptr<Gpt2Model> model_;
};

}  // namespace
}  // namespace graft

int main() {
  graft::Tool tool;
  return graft::AnswerEngineLines([&](const graft::Json& command) { return tool.Run(command); });
}
