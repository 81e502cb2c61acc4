#include "worker/engine/adapters/adapter_set.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

absl::Status CheckParts(const MethodConfig& method) {
  const std::vector<const Method*> parts = MethodsOf(method);
  if (parts.empty()) {
    std::vector<std::string> names;
    for (const Method* known : Methods()) names.push_back(known->name());
    return absl::InvalidArgumentError(
        absl::StrCat("method: at least one of ", absl::StrJoin(names, ", "), " must be set"));
  }
  for (const Method* part : parts) {
    if (part->why_alone() == nullptr || parts.size() == 1) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("method.", part->name(), ": excludes the other parts"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<AdapterSet>> AdapterSet::Create(const Gpt2Model& base,
                                                               const MethodConfig& method,
                                                               uint64_t seed) {
  RETURN_IF_ERROR(CheckParts(method));
  std::unique_ptr<AdapterSet> set(new AdapterSet(base, method));
  const CreateContext context{base, set->method_, seed, set->first_trained_block()};
  const std::vector<const TrainedMethod*> methods = TrainedMethodsOf(method);
  for (const TrainedMethod* part : methods) RETURN_IF_ERROR(part->Check(context));
  for (const TrainedMethod* part : methods) {
    ASSIGN_OR_RETURN(std::unique_ptr<TrainedPart> made, part->Create(context, set->tensors_));
    set->parts_.push_back(std::move(made));
  }
  if (set->tensors().empty()) {
    return absl::InvalidArgumentError(
        "method.last_layers: nothing trains; raise num_layers or include the final norm or head");
  }
  return set;
}

int64_t AdapterSet::num_trained_parameters() const {
  int64_t count = 0;
  for (const TrainedTensor& trained : tensors()) count += trained.tensor.numel();
  return count;
}

int64_t AdapterSet::first_trained_block() const {
  const int64_t layers = base_.network().num_layers();
  return layers - NumWholeBlocks(method_, layers);
}

absl::Status AdapterSet::CopyFrom(const AdapterSet& other) {
  if (tensors().size() != other.tensors().size()) {
    return absl::InvalidArgumentError(absl::StrCat("init_from: it has ", other.tensors().size(),
                                                   " tensors, the method needs ",
                                                   tensors().size()));
  }
  std::map<std::string, at::Tensor> values;
  for (const TrainedTensor& trained : other.tensors()) values[trained.name] = trained.tensor;
  for (const TrainedTensor& trained : tensors()) {
    const auto found = values.find(trained.name);
    if (found == values.end() || found->second.sizes() != trained.tensor.sizes()) {
      return absl::InvalidArgumentError(
          absl::StrCat("init_from: tensor ", trained.name,
                       found == values.end() ? " is missing" : " has another shape"));
    }
  }
  // With equal names they are of the same methods.
  for (size_t i = 0; i < parts_.size() && i < other.parts_.size(); ++i) {
    RETURN_IF_ERROR(parts_[i]->CheckSame(*other.parts_[i]));
  }
  c10::NoGradGuard no_grad;
  for (TrainedTensor& trained : tensors_.all()) trained.tensor.copy_(values[trained.name]);
  return absl::OkStatus();
}

Gpt2Network AdapterSet::Bind() const {
  Gpt2Network network = base_.network();
  for (const auto& part : parts_) part->Bind(tensors_, network);
  for (size_t layer = 0; layer < network.blocks.size(); ++layer) {
    for (int site = 0; site < kConv1dSites; ++site) {
      Projection& projection = network.blocks[layer].projections[site];
      const Projection& frozen = base_.network().blocks[layer].projections[site];
      if (!projection.weight.is_same(frozen.weight)) projection.packed = {};
    }
  }
  if (!network.lm_head.is_same(base_.network().lm_head)) {
    network.head_packed = PackedWeight(network.lm_head);
  }
  return network;
}

}  // namespace graft
