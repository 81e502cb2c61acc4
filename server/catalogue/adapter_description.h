#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/formats/manifest.h"
#include "graft/v1/adapter.pb.h"

namespace graft {

// Everything of an Adapter that follows from a PEFT directory and the folder of its base model: its
// method (resolved: every field set) and whether a job can begin with it, what it was trained with
// if a graft.json is there, files, size, number of parameters. name, base model, job and
// create_time stay unset. A graft hybrid's two directories, lora/ and soft_prompt/, are one
// adapter.
//
// NOT_FOUND: no adapter_config.json or adapter_model.safetensors; UNIMPLEMENTED: a field or tensor
// that graft does not compute, by name; INVALID_ARGUMENT: a broken file, or a tensor that is
// missing or does not fit the base model, by name, with the shape there should be.
absl::StatusOr<v1::Adapter> DescribeAdapter(const std::string& folder,
                                            const std::vector<ManifestFile>& files,
                                            const std::string& model_folder);

}  // namespace graft
