#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/text/bpe.h"
#include "worker/engine/gpt2/model.h"
#include "worker/engine/session/session.h"

namespace graft {

// A base model in memory with its tokenizer.
struct LoadedModel {
  BaseModel source;
  std::unique_ptr<Gpt2Model> model;
  std::unique_ptr<BpeTokenizer> tokenizer;
  std::string tokenizer_sha256;  // Over the names and bytes of its files.
};

// Codes of Gpt2Model::Load and BpeTokenizer::Load, the folder named; INVALID_ARGUMENT also when the
// tokenizer has ids beyond the model's vocabulary.
absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModel(const BaseModel& source,
                                                             const Gpt2Model::Options& options);

}  // namespace graft
