#include "server/catalogue/adapter_download.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/errors/status_details.h"
#include "common/formats/gpt2_config.h"
#include "common/jobs/artifacts.h"
#include "common/jobs/names.h"
#include "common/methods/adapter_export.h"
#include "common/methods/merge_adapter.h"
#include "server/catalogue/file_chunks.h"
#include "server/catalogue/lookup.h"

namespace graft {
namespace {

struct StoredAdapter {
  v1::Adapter adapter;
  v1::Model base;
  std::string adapter_directory;
  std::string base_directory;
};

absl::StatusOr<v1::Adapter> Find(const Catalogue& catalogue, const std::string& name) {
  RETURN_IF_ERROR(ValidateName(name, "name"));
  return FindAdapter(catalogue.store, {name, "name"});
}

// What is read by its path in a directory, not as a blob.
absl::Status VerifyFiles(const Catalogue& catalogue,
                         const google::protobuf::RepeatedPtrField<v1::Artifact>& files) {
  for (const v1::Artifact& file : files) {
    RETURN_IF_ERROR(Annotate(catalogue.blobs.Verify(file.sha256()), file.path()));
  }
  return absl::OkStatus();
}

// With its directory and its base model's, which are made where they are missing.
absl::StatusOr<StoredAdapter> FindInFull(const Catalogue& catalogue, const std::string& name) {
  StoredAdapter stored;
  ASSIGN_OR_RETURN(stored.adapter, Find(catalogue, name));
  ASSIGN_OR_RETURN(stored.base, catalogue.store.GetModel(stored.adapter.base_model()));
  RETURN_IF_ERROR(catalogue.publisher.Show(stored.adapter));
  stored.adapter_directory = catalogue.publisher.AdapterDirectory(name);
  ASSIGN_OR_RETURN(stored.base_directory, catalogue.publisher.DirectoryOf(stored.base));
  RETURN_IF_ERROR(VerifyFiles(catalogue, stored.adapter.files()));
  RETURN_IF_ERROR(VerifyFiles(catalogue, stored.base.files()));
  return stored;
}

absl::StatusOr<FileSource> OpenExport(const Catalogue& catalogue,
                                      const v1::DownloadAdapterRequest& request) {
  ASSIGN_OR_RETURN(const StoredAdapter stored, FindInFull(catalogue, request.name()));
  ASSIGN_OR_RETURN(const Gpt2Config gpt2, ReadGpt2Config(stored.base_directory));
  AdapterWriteOptions options;
  options.peft_version = request.peft_version();
  auto made = AdapterExport::Make(stored.adapter_directory, ToManifest(stored.adapter.files()),
                                  gpt2, options);
  if (absl::IsInvalidArgument(made.status())) {
    return FieldViolation("peft_version", made.status().message());
  }
  RETURN_IF_ERROR(made.status());
  const std::shared_ptr<const AdapterExport> exported = *std::move(made);
  std::vector<OutgoingFile> files;
  for (const AdapterFile& file : exported->made()) {
    if (file.tensors.empty()) {
      files.push_back(TextFile(file.path, file.text));
      continue;
    }
    ASSIGN_OR_RETURN(SafetensorsStream weights, exported->Weights(file));
    files.push_back(StreamFile(file.path, std::move(weights)));
  }
  for (const ManifestFile& file : exported->kept()) {
    files.push_back(BlobFile(catalogue.blobs, ToArtifact(file)));
  }
  return std::make_unique<FileChunkSource>(std::move(files), exported);
}

absl::StatusOr<DType> DTypeOf(const v1::MergeAdapterRequest& request) {
  if (request.dtype().empty()) return DType::kF32;
  const absl::StatusOr<DType> dtype = ParseDType(request.dtype());
  if (!dtype.ok() || !TorchDType(*dtype).ok()) {
    return FieldViolation("dtype", absl::StrCat("must be F32, F16 or BF16, not \"",
                                                Shortened(request.dtype(), 32), "\""));
  }
  return *dtype;
}

}  // namespace

absl::StatusOr<FileSource> OpenAdapterDownload(const Catalogue& catalogue,
                                               const v1::DownloadAdapterRequest& request) {
  if (!request.peft_version().empty()) return OpenExport(catalogue, request);
  ASSIGN_OR_RETURN(const v1::Adapter adapter, Find(catalogue, request.name()));
  std::vector<OutgoingFile> files;
  for (const v1::Artifact& file : adapter.files()) files.push_back(BlobFile(catalogue.blobs, file));
  return std::make_unique<FileChunkSource>(std::move(files));
}

absl::StatusOr<FileSource> OpenMergedModel(const Catalogue& catalogue,
                                           const v1::MergeAdapterRequest& request) {
  ASSIGN_OR_RETURN(const DType dtype, DTypeOf(request));
  ASSIGN_OR_RETURN(const StoredAdapter stored, FindInFull(catalogue, request.name()));
  auto opened = MergedModel::Open(stored.base_directory, stored.adapter_directory, dtype);
  RETURN_IF_ERROR(opened.status());
  const std::shared_ptr<const MergedModel> merged = *std::move(opened);
  std::vector<OutgoingFile> files = {TextFile("config.json", merged->ConfigJson())};
  for (const v1::Artifact& file : stored.base.files()) {
    if (absl::c_linear_search(kTokenizerFiles, file.path())) {
      files.push_back(BlobFile(catalogue.blobs, file));
    }
  }
  ASSIGN_OR_RETURN(SafetensorsStream weights, merged->Weights());
  files.push_back(StreamFile("model.safetensors", std::move(weights)));
  return std::make_unique<FileChunkSource>(std::move(files), merged);
}

}  // namespace graft
