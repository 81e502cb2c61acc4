#include "worker/engine/gpt2/model.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/gpt2/tensor_io.h"

namespace graft {
namespace {

absl::StatusOr<at::Tensor> LoadTensor(const ModelFolder& folder, const std::string& name,
                                      const Gpt2Model::Options& options) {
  const TensorView* view = folder.Find(name);
  if (view == nullptr) return absl::InternalError(absl::StrCat("no tensor ", name));
  return WeightFromView(*view, TypeInNetwork(name, options.dtype), options.device, [&] {
    // What was read is in memory as the file's pages, too.
    folder.ReleasePages();
    if (options.pulse != nullptr) options.pulse->Beat();
  });
}

}  // namespace

Gpt2Model::Gpt2Model(Gpt2Config config, Gpt2Network network)
    : config_(std::move(config)), network_(std::move(network)) {
  network_.head_packed = PackedWeight(network_.lm_head);
  for (BlockTensors& block : network_.blocks) {
    for (Projection& projection : block.projections) {
      projection.packed = PackedWeight(projection.weight.t());
    }
  }
}

absl::StatusOr<std::unique_ptr<Gpt2Model>> Gpt2Model::Load(const std::string& directory,
                                                           const Options& options) {
  ASSIGN_OR_RETURN(ModelFolder folder, ModelFolder::Open(directory));
  const Gpt2Config& config = folder.config();
  Gpt2Network network;
  network.num_heads = config.n_head;
  network.layer_norm_epsilon = config.layer_norm_epsilon;
  network.blocks.resize(config.n_layer);
  for (const NamedTensor& named : NamedTensors(network, !config.tie_word_embeddings)) {
    absl::StatusOr<at::Tensor> tensor = LoadTensor(folder, named.name, options);
    if (!tensor.ok()) return Annotate(tensor.status(), directory);
    *named.tensor = *std::move(tensor);
  }
  if (config.tie_word_embeddings) network.lm_head = network.wte;
  auto model = std::make_unique<Gpt2Model>(config, std::move(network));
  if (options.dtype == at::kBFloat16) model->folder_ = std::move(folder);
  return model;
}

absl::StatusOr<at::Tensor> Gpt2Model::Unrounded(const std::string& name,
                                                const at::Tensor& tensor) const {
  if (!folder_) return tensor;
  const TensorView* view = folder_->Find(name);
  if (view == nullptr) view = folder_->Find("wte.weight");  // A tied head's.
  return TensorFromView(*view, at::kFloat, device());
}

int64_t Gpt2Model::num_parameters() const { return Gpt2ParameterCount(config_); }

}  // namespace graft
