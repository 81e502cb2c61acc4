#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/formats/safetensors.h"
#include "common/text/example_builder.h"
#include "worker/engine/generation/generator.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/session/session_impl.h"

namespace graft {
namespace {

// The prompt's ids in what the model has room for. A bare prompt keeps its end, which the text
// continues; in a template the source is cut as in training.
absl::StatusOr<TokenPrompt> MakePrompt(const GenerateRequest& request, const LoadedModel& base,
                                       int64_t positions, int64_t max_new_tokens) {
  const int64_t room = positions - max_new_tokens;
  if (room < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens: ", max_new_tokens, " leaves no room for a prompt in ",
                     positions, " positions; at most ", positions - 1, " is possible"));
  }
  if (!request.prompt_template.empty()) {
    // What bounds this prompt is the room that is left, which BuildPrompt checks.
    ExampleOptions options;
    options.prompt_template = request.prompt_template;
    options.max_source_tokens = options.max_total_tokens = std::numeric_limits<int64_t>::max();
    ASSIGN_OR_RETURN(const ExampleBuilder builder,
                     ExampleBuilder::Create(*base.tokenizer, options));
    return builder.BuildPrompt(request.prompt, room);
  }
  TokenPrompt prompt;
  absl::StatusOr<std::vector<int32_t>> ids = base.tokenizer->Encode(request.prompt);
  if (!ids.ok()) return Annotate(ids.status(), "prompt");
  const int64_t have = static_cast<int64_t>(ids->size());
  prompt.source_tokens_cut = std::max<int64_t>(0, have - room);
  prompt.ids.assign(ids->begin() + prompt.source_tokens_cut, ids->end());
  return prompt;
}

}  // namespace

absl::Status EngineSession::Impl::Generate(const GenerateRequest& request,
                                           const TextCallback& on_text, StopToken& stop,
                                           GenerateOutcome* outcome) {
  const c10::NoGradGuard no_grad;
  if (!running_ && !request.keeps_threads) UseThreads(0);
  RETURN_IF_ERROR(stop.Poll());
  ASSIGN_OR_RETURN(const std::shared_ptr<const LoadedModel> base,
                   LoadForText(request, stop.pulse()));
  ASSIGN_OR_RETURN(const std::unique_ptr<AdapterSet> adapter,
                   LoadAdapter(*base->model, request.adapter_directory));
  const Gpt2Network network = adapter ? adapter->Bind() : base->model->network();
  const int64_t positions = network.n_positions() - network.num_virtual_tokens();
  if (positions < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("adapter: its ", network.num_virtual_tokens(), " virtual tokens leave ",
                     positions, " of the model's ", network.n_positions(),
                     " positions; a prompt and what follows it need 2"));
  }
  const int64_t max_new_tokens = request.max_new_tokens.value_or(
      std::min(kDefaultNewTokens, std::max<int64_t>(1, positions / 2)));
  ASSIGN_OR_RETURN(TokenPrompt prompt, MakePrompt(request, *base, positions, max_new_tokens));
  outcome->prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  outcome->prompt_tokens_cut = prompt.source_tokens_cut;

  GeneratorOptions options;
  options.generation = request.generation;
  options.max_new_tokens = max_new_tokens;
  options.batch_size = 1;
  options.end_of_text_id = base->tokenizer->end_of_text_id();
  StreamDecoder decoder(*base->tokenizer);
  const std::vector<std::vector<int32_t>> prompts = {std::move(prompt.ids)};
  ASSIGN_OR_RETURN(const std::vector<Generated> generated,
                   graft::Generate(network, prompts, options, stop,
                                   [&](int64_t, int32_t id) { on_text(id, decoder.Push(id)); }));
  on_text(-1, decoder.Finish());
  outcome->ended = generated[0].ended;
  outcome->new_tokens = static_cast<int64_t>(generated[0].ids.size());
  return absl::OkStatus();
}

absl::Status EngineSession::Impl::DumpLogits(const LogitsRequest& request, StopToken& stop) {
  const c10::NoGradGuard no_grad;
  UseThreads(0);
  ASSIGN_OR_RETURN(const std::shared_ptr<const LoadedModel> base,
                   Load(request.base_model, request.precision, stop.pulse()));
  ASSIGN_OR_RETURN(const std::unique_ptr<AdapterSet> adapter,
                   LoadAdapter(*base->model, request.adapter_directory));
  const Gpt2Network network = adapter ? adapter->Bind() : base->model->network();
  std::vector<at::Tensor> logits;
  std::vector<TensorView> views;
  for (size_t i = 0; i < request.rows.size(); ++i) {
    RETURN_IF_ERROR(stop.Poll());
    const std::vector<int32_t>& row = request.rows[i];
    const int64_t length = static_cast<int64_t>(row.size());
    const int64_t first = network.num_prompt_rows();
    const int64_t room = network.n_positions() - network.num_virtual_tokens();
    if (length == 0 || length > room) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", i, ": has ", length, " ids; 1 to ", room, " fit the model"));
    }
    const at::Tensor ids =
        at::tensor(at::IntArrayRef(std::vector<int64_t>(row.begin(), row.end())), at::kLong)
            .view({1, length})
            .to(network.device());
    const at::Tensor positions =
        at::arange(first, first + length, at::TensorOptions(at::kLong).device(network.device()));
    logits.push_back(Logits(network, HiddenStates(network, ids, positions, nullptr))
                         .to(at::kCPU, at::kFloat)
                         .contiguous());
    TensorView view;
    view.name = absl::StrCat("logits.", i);
    view.dtype = DType::kF32;
    view.shape = {length, logits.back().size(1)};
    view.bytes = {static_cast<const std::byte*>(logits.back().const_data_ptr()),
                  logits.back().nbytes()};
    views.push_back(std::move(view));
  }
  return WriteSafetensorsFile(request.output_file, views);
}

}  // namespace graft
