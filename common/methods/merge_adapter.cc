#include "common/methods/merge_adapter.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/formats/float_convert.h"
#include "common/methods/method.h"

namespace graft {
namespace {

// The elements of the merged tensors; keeps what is done to the present one.
class MergedElements {
 public:
  MergedElements(const ModelFolder& base, const AdapterFolder& adapter)
      : base_(base), adapter_(adapter) {}

  absl::Status operator()(const TensorInfo& tensor, int64_t first, int64_t count,
                          std::string& bytes) {
    const std::string name(absl::StripPrefix(tensor.name, "transformer."));
    const TensorView* view = adapter_.Find(name);
    if (view == nullptr) view = base_.Find(name);
    std::vector<double> values(static_cast<size_t>(count));
    ReadFloats(*view, first, std::span(values));
    for (const auto& change : ChangesOf(name, *view)) change->Apply(first, std::span(values));
    AppendFloats(values, tensor.dtype, bytes);
    return absl::OkStatus();
  }

 private:
  // Of the present tensor; made once for it.
  const std::vector<std::shared_ptr<const WeightChange>>& ChangesOf(const std::string& tensor,
                                                                    const TensorView& stored) {
    if (tensor == tensor_) return changes_;
    tensor_ = tensor;
    changes_.clear();
    for (const Method* method : MethodsOf(adapter_.parts())) {
      auto change = method->ChangeOf(adapter_, tensor, stored);
      if (change != nullptr) changes_.push_back(std::move(change));
    }
    return changes_;
  }

  const ModelFolder& base_;
  const AdapterFolder& adapter_;
  std::string tensor_;
  // Shared only because a std::function is copyable.
  std::vector<std::shared_ptr<const WeightChange>> changes_;
};

}  // namespace

MergedModel::MergedModel(ModelFolder base, AdapterFolder adapter, DType dtype)
    : base_(std::move(base)), adapter_(std::move(adapter)), dtype_(dtype), config_(base_.config()) {
  if (adapter_.Find("lm_head.weight") != nullptr) config_.tie_word_embeddings = false;
}

absl::StatusOr<std::unique_ptr<const MergedModel>> MergedModel::Open(
    const std::string& model_directory, const std::string& adapter_directory, DType dtype) {
  RETURN_IF_ERROR(TorchDType(dtype).status());
  ASSIGN_OR_RETURN(ModelFolder base, ModelFolder::Open(model_directory));
  ASSIGN_OR_RETURN(AdapterFolder adapter, AdapterFolder::Open(adapter_directory, base.config()));
  for (const Method* method : MethodsOf(adapter.parts())) {
    RETURN_IF_ERROR(method->CheckMerge(adapter.parts()));
  }
  return std::unique_ptr<const MergedModel>(
      new MergedModel(std::move(base), std::move(adapter), dtype));
}

std::string MergedModel::ConfigJson() const { return Gpt2ConfigJson(config_, *TorchDType(dtype_)); }

absl::StatusOr<SafetensorsStream> MergedModel::Weights() const {
  std::vector<TensorInfo> tensors;
  for (TensorShape& tensor : Gpt2TensorShapes(config_, !config_.tie_word_embeddings)) {
    tensors.push_back({StoredTensorName(tensor.name), dtype_, std::move(tensor.shape)});
  }
  return SafetensorsStream::Create(std::move(tensors), kPyTorchMetadata,
                                   MergedElements(base_, adapter_));
}

}  // namespace graft
