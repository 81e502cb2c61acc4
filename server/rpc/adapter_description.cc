#include "server/rpc/adapter_description.h"

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/adapter_parts.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/model_folder.h"
#include "server/rpc/folder_upload.h"

namespace graft {
namespace {

absl::StatusOr<v1::Method> MethodOf(const AdapterFolder& adapter, const Gpt2Config& gpt2) {
  const AdapterParts& parts = adapter.parts();
  v1::Method method;
  if (parts.lora.has_value()) {
    v1::Lora* lora = method.mutable_lora();
    lora->set_rank(static_cast<int32_t>(parts.lora->rank));
    lora->set_alpha(parts.lora->alpha);
    lora->set_dropout(parts.lora->dropout);
    lora->set_use_rslora(parts.lora->use_rslora);
    for (const std::string& module : parts.lora->target_modules) lora->add_target_modules(module);
    for (const int64_t layer : parts.lora->layers) lora->add_layers(static_cast<int32_t>(layer));
  }
  if (parts.num_virtual_tokens > 0) {
    method.mutable_soft_prompt()->set_num_virtual_tokens(
        static_cast<int32_t>(parts.num_virtual_tokens));
  }
  if (!parts.saved_modules.empty()) {
    ASSIGN_OR_RETURN(const LastLayersShape shape, AsLastLayers(parts.saved_modules, gpt2));
    v1::LastLayers* last = method.mutable_last_layers();
    last->set_num_layers(static_cast<int32_t>(shape.num_layers));
    last->set_include_final_norm(shape.final_norm);
    last->set_include_lm_head(shape.lm_head);
  }
  return method;
}

}  // namespace

absl::StatusOr<v1::Adapter> DescribeAdapter(const std::string& folder,
                                            const std::vector<ManifestFile>& files,
                                            const std::string& model_folder) {
  ASSIGN_OR_RETURN(const std::string json,
                   ReadFile(JoinPath(model_folder, "config.json"), kMaxConfigBytes));
  ASSIGN_OR_RETURN(const Gpt2Config gpt2, ParseGpt2Config(json));
  ASSIGN_OR_RETURN(const AdapterFolder opened, AdapterFolder::Open(folder, gpt2));
  v1::Adapter adapter;
  ASSIGN_OR_RETURN(*adapter.mutable_method(), MethodOf(opened, gpt2));
  for (const TensorView& tensor : opened.tensors()) {
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    adapter.set_trainable_parameters(adapter.trainable_parameters() + elements);
  }
  for (const ManifestFile& file : files) {
    *adapter.add_files() = ToArtifact(file);
    adapter.set_size_bytes(adapter.size_bytes() + file.size_bytes);
  }
  adapter.set_sha256(ManifestSha256(files));
  return adapter;
}

}  // namespace graft
