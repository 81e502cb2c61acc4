#pragma once

// What a method of common/methods computes: the values that its tensors begin with, and how they
// are bound to the network. Each is one class in a file of its own; TrainedMethods() lists them.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/methods/method_config.h"
#include "worker/engine/gpt2/model.h"
#include "worker/engine/methods/trained_tensors.h"

namespace graft {

// A part of a set: its tensors stand among the set's, which outlive it.
class TrainedPart {
 public:
  virtual ~TrainedPart() = default;
  // Puts the tensors into their places, cast to what they are in the network.
  virtual void Bind(const TrainedTensors& tensors, Gpt2Network& network) const = 0;
  // INVALID_ARGUMENT, what differs: the values of `other`, a part of the same method with tensors
  // of the same names and shapes, mean something else here.
  virtual absl::Status CheckSame(const TrainedPart& other) const { return absl::OkStatus(); }
  // UNIMPLEMENTED: why it cannot be written.
  virtual absl::Status CheckSaves() const { return absl::OkStatus(); }
};

// What fresh tensors are made from.
struct CreateContext {
  const Gpt2Model& base;
  const MethodConfig& method;
  uint64_t seed = 0;
  int64_t first_whole_block = 0;  // From it on blocks train whole, and nothing else is on them.
};

// What is read of an adapter's files.
struct LoadContext {
  const Gpt2Model& base;
  const MethodConfig& parts;
  // A tensor of the files by graft's name, checked to be finite.
  std::function<absl::StatusOr<at::Tensor>(const std::string& name)> tensor;
};

using Encode = std::function<absl::StatusOr<std::vector<int32_t>>(const std::string& text)>;

class TrainedMethod {
 public:
  virtual ~TrainedMethod() = default;
  // As in common/methods.
  virtual const char* name() const = 0;
  // Fills tokens of texts that the part is made from. The field is named by an error.
  virtual absl::Status ReadTexts(const Encode& encode, MethodConfig& method) const {
    return absl::OkStatus();
  }
  // Before any part of the set is made. INVALID_ARGUMENT naming the field.
  virtual absl::Status Check(const CreateContext& context) const { return absl::OkStatus(); }
  // Adds fresh tensors; random ones follow from the seed alone. INVALID_ARGUMENT naming the field
  // and what would be valid.
  virtual absl::StatusOr<std::unique_ptr<TrainedPart>> Create(const CreateContext& context,
                                                              TrainedTensors& tensors) const = 0;
  // Adds those of the files. UNIMPLEMENTED: another method's files are the only ones.
  virtual absl::StatusOr<std::unique_ptr<TrainedPart>> Load(const LoadContext& context,
                                                            TrainedTensors& tensors) const = 0;
};

// In the order of Methods(), in which a set's tensors stand.
const std::vector<const TrainedMethod*>& TrainedMethods();
// Those that the set has.
std::vector<const TrainedMethod*> TrainedMethodsOf(const MethodConfig& method);

// Of all parts.
absl::Status ReadMethodTexts(const Encode& encode, MethodConfig& method);

}  // namespace graft
