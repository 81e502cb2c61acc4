#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/formats/manifest.h"
#include "common/formats/model_folder.h"
#include "graft/v1/model.pb.h"

namespace graft {

// Everything of a Model that follows from its folder and the files that count in it; name, job and
// create_time stay unset. INVALID_ARGUMENT, NOT_FOUND: as ModelFolder::Open and BpeTokenizer::Load
// (a model whose tokenizer cannot be read is of no use), or the vocabulary is larger than wte.
absl::StatusOr<v1::Model> DescribeModel(const std::string& folder,
                                        const std::vector<ManifestFile>& files);

}  // namespace graft
