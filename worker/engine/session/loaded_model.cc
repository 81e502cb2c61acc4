#include "worker/engine/session/loaded_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/model_folder.h"

namespace graft {
namespace {

absl::StatusOr<std::string> TokenizerSha256(const std::string& directory) {
  Sha256 hash;
  for (const char* name : kTokenizerFiles) {
    const std::string path = JoinPath(directory, name);
    if (!FileExists(path)) continue;
    ASSIGN_OR_RETURN(const std::string sha256, Sha256HexOfFile(path));
    hash.Update(absl::StrCat(name, " ", sha256, "\n"));
  }
  return hash.Hex();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModel(const BaseModel& source,
                                                             const Gpt2Model::Options& options) {
  auto loaded = std::make_shared<LoadedModel>();
  const std::string& directory = source.directory;
  loaded->source = source;
  absl::StatusOr<BpeTokenizer> tokenizer = BpeTokenizer::Load(directory);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), directory);
  loaded->tokenizer = std::make_unique<BpeTokenizer>(*std::move(tokenizer));
  ASSIGN_OR_RETURN(loaded->tokenizer_sha256, TokenizerSha256(directory));
  ASSIGN_OR_RETURN(loaded->model, Gpt2Model::Load(directory, options));
  const int64_t rows = loaded->model->config().vocab_size;
  if (loaded->tokenizer->vocab_size() > rows) {
    return absl::InvalidArgumentError(absl::StrCat(directory, ": the tokenizer has ids up to ",
                                                   loaded->tokenizer->vocab_size() - 1,
                                                   ", but wte.weight has only ", rows, " rows"));
  }
  return std::shared_ptr<const LoadedModel>(std::move(loaded));
}

}  // namespace graft
