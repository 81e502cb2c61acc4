#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/methods/adapter_files.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/soft_prompt.h"

namespace graft {

// Modules that an adapter saves whole.
inline LastLayersConfig Saved(std::vector<std::string> modules) {
  return {0, false, false, std::move(modules)};
}

// An adapter's tensors, each value different.
class AdapterTensors {
 public:
  AdapterTensors(const std::vector<LoraModule>& modules, MethodConfig parts,
                 const Gpt2Config& gpt2) {
    if (!modules.empty()) parts.Get<LoraConfig>().modules = modules;
    float next = 1;
    for (const TensorShape& tensor : AdapterTensorShapes(parts, gpt2)) {
      int64_t count = 1;
      for (const int64_t dimension : tensor.shape) count *= dimension;
      std::vector<float>& values = data[tensor.name];
      for (int64_t i = 0; i < count; ++i) values.push_back(next++);
      infos.push_back({tensor.name, DType::kF32, tensor.shape});
    }
  }
  absl::StatusOr<std::span<const std::byte>> Get(const TensorInfo& tensor) const {
    return std::as_bytes(std::span(data.at(tensor.name)));
  }

  std::map<std::string, std::vector<float>> data;
  std::vector<TensorInfo> infos;
};

}  // namespace graft
