#pragma once

#include <utility>
#include <vector>

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

// The places of a set's LoRA, or of what is made like it.
class LoraPart : public TrainedPart {
 public:
  LoraPart(std::vector<LoraPlace> places, const LoraConfig& lora)
      : places_(std::move(places)), rank_(lora.rank), alpha_(lora.alpha) {}

  void Bind(const TrainedTensors& tensors, Gpt2Network& network) const override;
  // Each place's scale must be the other's.
  absl::Status CheckSame(const TrainedPart& other) const override;
  // All must have one rank and one alpha.
  absl::Status CheckSaves() const override;

 protected:
  const std::vector<LoraPlace>& places() const { return places_; }

 private:
  const std::vector<LoraPlace> places_;
  const int64_t rank_;
  const double alpha_;
};

class TrainedLora : public TrainedMethod {
 public:
  const char* name() const override { return LoraConfig::kMethod; }
  absl::StatusOr<std::unique_ptr<TrainedPart>> Create(const CreateContext& context,
                                                      TrainedTensors& tensors) const override;
  absl::StatusOr<std::unique_ptr<TrainedPart>> Load(const LoadContext& context,
                                                    TrainedTensors& tensors) const override;
};

}  // namespace graft
