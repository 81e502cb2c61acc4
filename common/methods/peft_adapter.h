#pragma once

// What methods are given to read and to plan PEFT's files (private to common/methods).

#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/safetensors.h"
#include "common/methods/adapter_files.h"
#include "common/methods/method_config.h"

namespace graft {

// One PEFT adapter to write.
struct PeftAdapter {
  std::string config;  // adapter_config.json
  std::vector<AdapterFile::Tensor> tensors;

  // All in F32; `stored_name` gives PEFT's name for one of ours. Those of a carrier are zeros.
  template <typename StoredName>
  void Add(const std::vector<TensorShape>& shapes, const StoredName& stored_name,
           bool is_carrier = false) {
    for (const TensorShape& tensor : shapes) {
      AdapterFile::Tensor& planned = tensors.emplace_back();
      planned.stored = {stored_name(tensor.name), DType::kF32, tensor.shape};
      if (!is_carrier) planned.name = tensor.name;
    }
  }
};

// What is read of an adapter so far, and the file whose tensors are taken next: one after the other
// by the names that they should have; what is wrong is collected.
class AdapterReader {
 public:
  AdapterReader(AdapterFolder& folder, const Gpt2Config& gpt2)
      : parts(folder.parts_),
        tensors(folder.tensors_),
        base_model_name(folder.base_model_name_),
        gpt2(gpt2) {}

  void Begin(const SafetensorsFile& file);
  // Adds it to `tensors`, unless it is only expected to be there.
  void Take(const std::string& stored, const TensorShape& tensor, bool only_expect = false);
  // What was missing, wrong or not asked for.
  absl::Status End();

  MethodConfig& parts;
  std::vector<TensorView>& tensors;
  std::string& base_model_name;  // The first file's that says it.
  const Gpt2Config& gpt2;

 private:
  const SafetensorsFile* file_ = nullptr;
  std::set<std::string> used_;
  std::vector<std::string> problems_;
};

// Takes the tensors of modules that another's adapter carries, below `prefix`, as last_layers'
// part.
void TakeSavedModules(const std::vector<std::string>& modules, absl::string_view prefix,
                      AdapterReader& reader);

// "transformer.h.11" of "h.11".
std::vector<std::string> PeftModulePaths(const std::vector<std::string>& modules);

}  // namespace graft
