// Which methods the engine computes.

#include "common/methods/method.h"
#include "worker/engine/methods/base_weights.h"
#include "worker/engine/methods/dora.h"
#include "worker/engine/methods/lora.h"
#include "worker/engine/methods/prefix_tuning.h"
#include "worker/engine/methods/soft_prompt.h"
#include "worker/engine/methods/trained_method.h"

namespace graft {

const std::vector<const TrainedMethod*>& TrainedMethods() {
  static const auto& methods = *new std::vector<const TrainedMethod*>{
      new TrainedLora(),       new TrainedDora(), new TrainedSoftPrompt(),
      new TrainedLastLayers(), new TrainedFull(), new TrainedPrefixTuning()};
  return methods;
}

std::vector<const TrainedMethod*> TrainedMethodsOf(const MethodConfig& method) {
  std::vector<const TrainedMethod*> methods;
  for (const TrainedMethod* known : TrainedMethods()) {
    if (method.Has(known->name())) methods.push_back(known);
  }
  return methods;
}

absl::Status ReadMethodTexts(const Encode& encode, MethodConfig& method) {
  for (const TrainedMethod* part : TrainedMethodsOf(method)) {
    absl::Status read = part->ReadTexts(encode, method);
    if (!read.ok()) return read;
  }
  return absl::OkStatus();
}

}  // namespace graft
