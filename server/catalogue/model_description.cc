#include "server/catalogue/model_description.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/jobs/artifacts.h"
#include "common/jobs/model_shape.h"
#include "common/text/bpe.h"

namespace graft {

absl::StatusOr<v1::Model> DescribeModel(const std::string& folder,
                                        const std::vector<ManifestFile>& files) {
  ASSIGN_OR_RETURN(const ModelFolder opened, ModelFolder::Open(folder));
  ASSIGN_OR_RETURN(const BpeTokenizer tokenizer, BpeTokenizer::Load(folder));
  const Gpt2Config& config = opened.config();
  if (tokenizer.vocab_size() > config.vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat("the tokenizer has ids up to ",
                                                   tokenizer.vocab_size() - 1, ", but wte only ",
                                                   config.vocab_size, " rows"));
  }
  v1::Model model;
  model.set_sha256(ManifestSha256(files));
  for (const ManifestFile& file : files) {
    *model.add_files() = ToArtifact(file);
    model.set_size_bytes(model.size_bytes() + file.size_bytes);
  }
  model.set_num_parameters(Gpt2ParameterCount(config));
  SetShape(config, &model);
  const TensorView* embedding = opened.Find("wte.weight");
  if (embedding != nullptr) model.set_dtype(std::string(DTypeName(embedding->dtype)));
  return model;
}

}  // namespace graft
