#pragma once

#include "common/methods/dora.h"
#include "worker/engine/methods/trained_method.h"

namespace graft {

class TrainedDora : public TrainedMethod {
 public:
  const char* name() const override { return DoraConfig::kMethod; }
  absl::StatusOr<std::unique_ptr<TrainedPart>> Create(const CreateContext& context,
                                                      TrainedTensors& tensors) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Load(const LoadContext& context,
                                                    TrainedTensors& tensors) const override;
};

}  // namespace graft
