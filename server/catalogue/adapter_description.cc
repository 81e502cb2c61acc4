#include "server/catalogue/adapter_description.h"

#include <utility>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/graft_json.h"
#include "common/jobs/artifacts.h"
#include "common/jobs/method.h"
#include "common/jobs/trained_with.h"
#include "common/methods/adapter_files.h"

namespace graft {

absl::StatusOr<v1::Adapter> DescribeAdapter(const std::string& folder,
                                            const std::vector<ManifestFile>& files,
                                            const std::string& model_folder) {
  ASSIGN_OR_RETURN(const Gpt2Config gpt2, ReadGpt2Config(model_folder));
  ASSIGN_OR_RETURN(const AdapterFolder opened, AdapterFolder::Open(folder, gpt2));
  v1::Adapter adapter;
  AdapterMethod method = MethodOfAdapter(opened.parts(), gpt2);
  *adapter.mutable_method() = std::move(method.method);
  adapter.set_init_from_error(std::move(method.init_from_error));
  ASSIGN_OR_RETURN(*adapter.mutable_trained_with(), ReadTrainedWith(JoinPath(folder, kGraftJson)));
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
