#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/manifest.h"
#include "common/formats/safetensors_stream.h"
#include "common/methods/adapter_files.h"

namespace graft {

// A stored adapter as another PEFT release reads it. Each adapter_config.json gets the fields of
// that release; where it can only say it in other files (a soft prompt with modules_to_save before
// 0.17: two directories; no LoRA at all before 0.14: a carrier), configuration, weights and
// README.md are made anew. graft.json's `files` and `load_order` become those of what is here, and
// `exported_for` names the release. Nothing is written. Immutable; streams must not outlive it.
class AdapterExport {
 public:
  // `stored` are the files of `directory`. INVALID_ARGUMENT: `peft_version` as PeftFieldSet, or the
  // release cannot express the adapter: file and field are named. Codes of AdapterFolder::Open.
  static absl::StatusOr<std::unique_ptr<const AdapterExport>> Make(
      const std::string& directory, const std::vector<ManifestFile>& stored, const Gpt2Config& gpt2,
      const AdapterWriteOptions& options);

  // Files that are sent as they are stored.
  const std::vector<ManifestFile>& kept() const { return kept_; }
  // Files that stand in the place of all others.
  const std::vector<AdapterFile>& made() const { return made_; }
  // The content of one of `made` that has tensors.
  absl::StatusOr<SafetensorsStream> Weights(const AdapterFile& file) const;

 private:
  AdapterExport(AdapterFolder adapter, std::vector<ManifestFile> stored)
      : adapter_(std::move(adapter)), kept_(std::move(stored)) {}
  absl::Status ConvertConfigs(const std::string& directory, const Gpt2Config& gpt2,
                              const std::string& peft_version);
  absl::Status WriteAnew(const Gpt2Config& gpt2, const AdapterWriteOptions& options);
  absl::Status CorrectGraftJson(const std::string& directory, const AdapterWriteOptions& options);
  // The file that `made` has instead, or that is no more.
  void Drop(absl::string_view path);

  const AdapterFolder adapter_;
  std::vector<ManifestFile> kept_;
  std::vector<AdapterFile> made_;
};

}  // namespace graft
