#pragma once

#include "common/methods/lora.h"
#include "worker/engine/methods/trained_method.h"

namespace graft {

// A LoRA pair on one Conv1D. Loaded adapters may have a rank and scale of their own per layer.
struct LoraPlace {
  int64_t layer = 0;
  int site = kAttnCAttn;
  int64_t rank = 0;
  double alpha = 0;
  double scale = 0;
  double dropout = 0;
  // "h.3.attn.c_attn", before ".lora_A" and ".lora_B".
  std::string path() const;
};
// What `lora` means on this base, and the A of each as it begins (B is zero). INVALID_ARGUMENT
// naming the field: unknown target module or layer, rank beyond the layer, nothing left to be on.
struct FreshLora {
  LoraPlace place;
  at::Tensor a;
};
absl::StatusOr<std::vector<FreshLora>> MakeLora(const LoraConfig& lora,
                                                const CreateContext& context);
// Of an adapter's files. UNIMPLEMENTED: LoRA on something else.
absl::StatusOr<std::vector<LoraPlace>> LoraPlaces(const LoraConfig& lora);
// UNIMPLEMENTED: a rank or alpha of its own for some of them.
absl::Status CheckOneShape(const std::vector<LoraPlace>& places, int64_t rank, double alpha);
// Of two lists for the same tensors.
absl::Status CheckSameScales(const std::vector<LoraPlace>& here,
                             const std::vector<LoraPlace>& there);

class TrainedLora : public TrainedMethod {
 public:
  const char* name() const override { return LoraConfig::kMethod; }
  absl::StatusOr<std::unique_ptr<TrainedPart>> Create(const CreateContext& context,
                                                      TrainedTensors& tensors) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Load(const LoadContext& context,
                                                    TrainedTensors& tensors) const override;
};

}  // namespace graft
