#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/formats/safetensors.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/session/session_impl.h"
#include "worker/engine/session/text_run.h"

namespace graft {

absl::Status EngineSession::Impl::GenerateTexts(TextSource& source, StopToken& stop) {
  TextTask* const first = source.Next();
  if (first == nullptr) return absl::OkStatus();
  const c10::NoGradGuard no_grad;
  if (!running_) UseThreads(0);
  std::optional<TextRun> run;
  const auto make = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(std::shared_ptr<const LoadedModel> base,
                     LoadForText(first->request(), stop.pulse()));
    run.emplace(std::move(base), adapters_, source, stop);
    return run->Run(*first);
  };
  const absl::Status status = running_ ? CatchTorchErrors(make) : Guarded(make);
  if (running_) adapters_.Clear();
  if (status.ok() || (run.has_value() && run->stopped())) return status;
  if (run.has_value()) {
    run->Fail(status);
  } else {
    first->OnEnd(status);
  }
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
