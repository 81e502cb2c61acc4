#include "common/methods/trained_parameters.h"

#include "common/methods/adapter_files.h"

namespace graft {

int64_t CountTrainedParameters(const MethodConfig& parts, const Gpt2Config& gpt2) {
  int64_t count = 0;
  for (const TensorShape& tensor : AdapterTensorShapes(parts, gpt2)) {
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    count += elements;
  }
  return count;
}

}  // namespace graft
