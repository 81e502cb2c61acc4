#include "common/formats/merge_adapter.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/formats/float_convert.h"

namespace graft {
namespace {

// What LoRA adds to one weight [in, out], an element at a time in the order of the weight's rows.
class LoraDelta {
 public:
  LoraDelta(const LoraModule& module, const TensorView& a, const TensorView& b)
      : module_(module), a_(module.rank * module.in), b_(module.rank * module.out) {
    ReadFloats(a, 0, std::span(a_));
    std::vector<double> stored(b_.size());
    ReadFloats(b, 0, std::span(stored));
    for (int64_t out = 0; out < module.out; ++out) {
      for (int64_t r = 0; r < module.rank; ++r) {
        b_[r * module.out + out] = stored[out * module.rank + r];
      }
    }
  }

  const std::string& module() const { return module_.name; }

  void AddTo(int64_t first, std::span<double> values) const {
    for (size_t done = 0; done < values.size();) {
      const int64_t at = first + static_cast<int64_t>(done);
      const int64_t in = at / module_.out;
      const int64_t out = at % module_.out;
      const auto rest = static_cast<size_t>(module_.out - out);
      const std::span<double> row = values.subspan(done, std::min(rest, values.size() - done));
      for (int64_t r = 0; r < module_.rank; ++r) {
        const double factor = module_.scaling * a_[r * module_.in + in];
        const double* b = &b_[r * module_.out + out];
        for (size_t i = 0; i < row.size(); ++i) row[i] += factor * b[i];
      }
      done += row.size();
    }
  }

 private:
  const LoraModule& module_;
  std::vector<double> a_;  // [rank, in]
  std::vector<double> b_;  // [rank, out], not as stored
};

// The elements of the merged tensors; keeps the present layer's A and B.
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
    if (const LoraDelta* delta = DeltaOf(name)) delta->AddTo(first, std::span(values));
    AppendFloats(values, tensor.dtype, bytes);
    return absl::OkStatus();
  }

 private:
  // nullptr when LoRA leaves the tensor alone.
  const LoraDelta* DeltaOf(const std::string& tensor) {
    const auto module = absl::c_find_if(adapter_.lora_modules(), [&](const LoraModule& module) {
      return tensor == absl::StrCat(module.name, ".weight");
    });
    if (module == adapter_.lora_modules().end()) return nullptr;
    if (delta_ == nullptr || delta_->module() != module->name) {
      delta_ = std::make_shared<const LoraDelta>(*module, *adapter_.Find(module->name + ".lora_A"),
                                                 *adapter_.Find(module->name + ".lora_B"));
    }
    return delta_.get();
  }

  const ModelFolder& base_;
  const AdapterFolder& adapter_;
  std::shared_ptr<const LoraDelta> delta_;  // Shared only because a std::function is copyable.
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
  if (adapter.parts().num_virtual_tokens > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the adapter has a soft prompt of ", adapter.parts().num_virtual_tokens,
        " virtual tokens, which stands before the text and cannot be merged into weights; download "
        "the adapter and load it with PEFT as its README.md says, or train one without "
        "soft_prompt"));
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
