#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/model_folder.h"
#include "common/formats/safetensors_stream.h"
#include "common/methods/adapter_files.h"

namespace graft {

// A base model with an adapter merged into its weights, so that it is a GPT-2 like any other:
//
//   what each method says that it does to a weight (WeightChange), in double precision
//   saved modules replace the base's; a head among them is an untied one
//
// Both folders stay mapped, nothing else is held in memory. Immutable; its streams are for one
// thread each and must not outlive it.
class MergedModel {
 public:
  // `dtype` of all weights: F32, F16 or BF16, else INVALID_ARGUMENT. FAILED_PRECONDITION: the
  // adapter has a part that is no weight (Method::CheckMerge). Codes of ModelFolder::Open and
  // AdapterFolder::Open.
  static absl::StatusOr<std::unique_ptr<const MergedModel>> Open(
      const std::string& model_directory, const std::string& adapter_directory, DType dtype);

  // config.json.
  std::string ConfigJson() const;
  // model.safetensors, tensors named as transformers names them.
  absl::StatusOr<SafetensorsStream> Weights() const;

 private:
  MergedModel(ModelFolder base, AdapterFolder adapter, DType dtype);

  const ModelFolder base_;
  const AdapterFolder adapter_;
  const DType dtype_;
  Gpt2Config config_;
};

}  // namespace graft
