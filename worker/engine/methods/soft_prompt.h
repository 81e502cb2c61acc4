#pragma once

#include "common/methods/soft_prompt.h"
#include "worker/engine/methods/trained_method.h"

namespace graft {

class TrainedSoftPrompt : public TrainedMethod {
 public:
  const char* name() const override { return SoftPromptConfig::kMethod; }
  absl::Status ReadTexts(const Encode& encode, MethodConfig& method) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Create(const CreateContext& context,
                                                      TrainedTensors& tensors) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Load(const LoadContext& context,
                                                    TrainedTensors& tensors) const override;
};

}  // namespace graft
