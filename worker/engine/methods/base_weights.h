#pragma once

#include <functional>

#include "common/methods/full.h"
#include "common/methods/last_layers.h"
#include "worker/engine/methods/trained_method.h"

namespace graft {

// Copies of the base's own tensors, of those that `trains` names, in the order of NamedTensors. In
// a network of bf16 they begin with the file's own values.
absl::Status AddBaseTensors(const Gpt2Model& base, bool with_lm_head, absl::string_view method,
                            const std::function<bool(const std::string& name)>& trains,
                            TrainedTensors& tensors);

class TrainedLastLayers : public TrainedMethod {
 public:
  const char* name() const override { return LastLayersConfig::kMethod; }
  absl::Status Check(const CreateContext& context) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Create(const CreateContext& context,
                                                      TrainedTensors& tensors) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Load(const LoadContext& context,
                                                    TrainedTensors& tensors) const override;
};

class TrainedFull : public TrainedMethod {
 public:
  const char* name() const override { return FullConfig::kMethod; }
  absl::StatusOr<std::unique_ptr<TrainedPart>> Create(const CreateContext& context,
                                                      TrainedTensors& tensors) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Load(const LoadContext& context,
                                                    TrainedTensors& tensors) const override;
};

}  // namespace graft
