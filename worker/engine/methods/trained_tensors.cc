#include "worker/engine/methods/trained_tensors.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace graft {
namespace {

bool Decays(absl::string_view name) {
  return !absl::EndsWith(name, ".bias") && !absl::StrContains(name, "ln_");
}

}  // namespace

void TrainedTensors::Add(std::string name, const at::Tensor& initial, absl::string_view method) {
  const at::ScalarType type = base_.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  TrainedTensor trained;
  trained.decays = Decays(name);
  trained.name = std::move(name);
  trained.tensor = initial.to(base_.device(), type, /*non_blocking=*/false,
                              /*copy=*/true, at::MemoryFormat::Contiguous);
  trained.tensor.requires_grad_(true);
  trained.method = std::string(method);
  index_[trained.name] = tensors_.size();
  tensors_.push_back(std::move(trained));
}

at::Tensor TrainedTensors::InNetwork(absl::string_view name) const {
  const at::Tensor own = Own(name);
  return own.defined() ? own.to(TypeInNetwork(name, base_.dtype())) : own;
}

at::Tensor TrainedTensors::Own(absl::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? at::Tensor() : tensors_[found->second].tensor;
}

absl::Status CheckVirtualTokens(const Gpt2Network& network, absl::string_view field,
                                int64_t count) {
  const int64_t most = network.n_positions() - 2;
  if (count >= 1 && count <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      field, ": ", count, most < 1 ? " do not fit" : absl::StrCat(" is not in 1..", most),
      ": the model has ", network.n_positions(), " positions, of which a text needs 2"));
}

at::Generator InitGenerator(uint64_t seed, uint64_t stream) {
  return at::detail::createCPUGenerator(seed * 0x9e3779b97f4a7c15 + stream);
}

}  // namespace graft
