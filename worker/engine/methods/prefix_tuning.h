#pragma once

#include "common/methods/prefix_tuning.h"
#include "worker/engine/methods/trained_method.h"

namespace graft {

class TrainedPrefixTuning : public TrainedMethod {
 public:
  const char* name() const override { return PrefixTuningConfig::kMethod; }
  absl::StatusOr<std::unique_ptr<TrainedPart>> Create(const CreateContext& context,
                                                      TrainedTensors& tensors) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Load(const LoadContext& context,
                                                    TrainedTensors& tensors) const override;
};

}  // namespace graft
