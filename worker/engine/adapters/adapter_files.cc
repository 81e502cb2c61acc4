// AdapterSet on disk: PEFT's files through common/methods, and models where a method makes one.

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/methods/adapter_files.h"
#include "worker/engine/adapters/adapter_set.h"
#include "worker/engine/gpt2/tensor_io.h"

namespace graft {
namespace {

// The trained tensors as F32 on the CPU, one at a time.
class F32Source {
 public:
  F32Source(const std::vector<TrainedTensor>& tensors, Pulse* pulse) : pulse_(pulse) {
    for (const TrainedTensor& trained : tensors) {
      tensors_[trained.name] = trained.tensor;
      TensorInfo info = InfoOf(trained.name, trained.tensor);
      info.dtype = DType::kF32;
      infos_.push_back(std::move(info));
    }
  }
  const std::vector<TensorInfo>& infos() const { return infos_; }
  absl::StatusOr<std::span<const std::byte>> operator()(const TensorInfo& info) {
    if (pulse_ != nullptr) pulse_->Beat();
    current_ = tensors_.at(info.name).to(at::kCPU, at::kFloat).contiguous();
    return BytesOf(current_);
  }

 private:
  std::map<std::string, at::Tensor> tensors_;
  std::vector<TensorInfo> infos_;
  at::Tensor current_;
  Pulse* const pulse_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdapterSet>> AdapterSet::Load(const Gpt2Model& base,
                                                             const std::string& directory) {
  ASSIGN_OR_RETURN(const AdapterFolder folder, AdapterFolder::Open(directory, base.config()));
  std::unique_ptr<AdapterSet> set(new AdapterSet(base, folder.parts()));
  const auto tensor = [&](const std::string& name) -> absl::StatusOr<at::Tensor> {
    const TensorView* view = folder.Find(name);
    if (view == nullptr) {
      return absl::InternalError(absl::StrCat(directory, ": no tensor ", name));
    }
    ASSIGN_OR_RETURN(at::Tensor value, TensorFromView(*view));
    if (value.numel() > 0 && !at::isfinite(value).all().item<bool>()) {
      return absl::InvalidArgumentError(
          absl::StrCat(directory, ": tensor ", name, " holds NaN or infinite values"));
    }
    return value;
  };
  const LoadContext context{base, set->method_, tensor};
  for (const TrainedMethod* method : TrainedMethodsOf(set->method_)) {
    absl::StatusOr<std::unique_ptr<TrainedPart>> part = method->Load(context, set->tensors_);
    if (!part.ok()) {
      return absl::IsUnimplemented(part.status()) ? Annotate(part.status(), directory)
                                                  : part.status();
    }
    set->parts_.push_back(*std::move(part));
  }
  return set;
}

absl::StatusOr<std::vector<std::string>> AdapterSet::Save(const std::string& directory,
                                                          const SaveOptions& options) const {
  F32Source source(tensors(), options.pulse);
  if (MakesModel(method_)) {
    RETURN_IF_ERROR(WriteModelFolder(directory, base_.config(), source.infos(), std::ref(source),
                                     options.tokenizer_directory));
    return ListDirectory(directory);
  }
  for (const auto& part : parts_) RETURN_IF_ERROR(part->CheckSaves());
  AdapterWriteOptions write;
  write.base_model_name = options.base_model_name;
  ASSIGN_OR_RETURN(
      std::vector<std::string> files,
      WriteAdapter(directory, base_.config(), method_, source.infos(), std::ref(source), write));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace graft
