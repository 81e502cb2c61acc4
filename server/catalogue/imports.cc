#include "server/catalogue/imports.h"

#include <iterator>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/formats/model_folder.h"
#include "common/jobs/names.h"
#include "server/catalogue/adapter_description.h"
#include "server/catalogue/lookup.h"
#include "server/catalogue/model_description.h"

namespace graft {
namespace {

// What a checker said about uploaded files, as an answer to the upload.
absl::Status AsBadUpload(const absl::Status& status, absl::string_view what) {
  if (status.ok()) return status;
  const bool callers_fault = absl::IsNotFound(status) || absl::IsInvalidArgument(status) ||
                             absl::IsUnimplemented(status) || absl::IsDataLoss(status);
  if (!callers_fault) return status;
  return FieldViolation("chunk", absl::StrCat(what, ": ", status.message()));
}

}  // namespace

template <typename Request, typename Resource>
absl::Status ImportSink<Request, Resource>::OnMessage(Request& message) {
  if (message.has_metadata()) {
    if (!name_.empty()) return FieldViolation("metadata", "may come only once");
    RETURN_IF_ERROR(ValidateName(message.metadata().name(), "metadata.name"));
    name_ = message.metadata().name();
    return Begin(message.metadata());
  }
  if (name_.empty()) return FieldViolation("metadata", "must be the first message of an import");
  return files_.Add(message.chunk());
}

template <typename Request, typename Resource>
absl::Status ImportSink<Request, Resource>::OnEnd(const Gone& gone) {
  if (name_.empty()) return FieldViolation("metadata", "the import was empty");
  ASSIGN_OR_RETURN(const std::vector<ManifestFile> uploaded, files_.Finish());
  return Import(uploaded, gone);
}

template <typename Request, typename Resource>
absl::Status ImportSink<Request, Resource>::UseFolder(
    const std::vector<ManifestFile>& uploaded,
    const std::function<absl::Status(const std::string& folder)>& use) {
  bool made = false;
  const absl::Status used = catalogue_.publisher.WithFolder(uploaded, [&](const std::string& path) {
    made = true;
    return use(path);
  });
  return made ? AsBadUpload(used, name_) : used;
}

template class ImportSink<v1::ImportModelRequest, v1::Model>;
template class ImportSink<v1::ImportAdapterRequest, v1::Adapter>;

absl::Status ModelImportSink::Begin(const v1::ImportModelRequest::Metadata&) {
  return absl::OkStatus();
}

absl::Status ModelImportSink::Import(const std::vector<ManifestFile>& uploaded, const Gone& gone) {
  v1::Model model;
  RETURN_IF_ERROR(UseFolder(uploaded, [&](const std::string& folder) -> absl::Status {
    // Their hashes were made while they came.
    ASSIGN_OR_RETURN(const auto counting, ListModelFiles(folder));
    std::vector<ManifestFile> files;
    absl::c_copy_if(uploaded, std::back_inserter(files), [&](const ManifestFile& file) {
      return absl::c_binary_search(counting, file.path);
    });
    RETURN_IF_ERROR(CheckWanted(gone));
    ASSIGN_OR_RETURN(model, DescribeModel(folder, files));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(CheckWanted(gone));
  model.set_name(name_);
  ASSIGN_OR_RETURN(*response_, catalogue_.store.InsertModel(model));
  return catalogue_.publisher.Show(*response_);
}

absl::Status AdapterImportSink::Begin(const v1::ImportAdapterRequest::Metadata& metadata) {
  RETURN_IF_ERROR(ValidateName(metadata.base_model(), "metadata.base_model"));
  base_model_ = metadata.base_model();
  // Before gigabytes come.
  return FindModel(catalogue_.store, {base_model_, "metadata.base_model"}).status();
}

absl::Status AdapterImportSink::Import(const std::vector<ManifestFile>& uploaded,
                                       const Gone& gone) {
  ASSIGN_OR_RETURN(const v1::Model model,
                   FindModel(catalogue_.store, {base_model_, "metadata.base_model"}));
  ASSIGN_OR_RETURN(const std::string model_folder, catalogue_.publisher.DirectoryOf(model));
  RETURN_IF_ERROR(CheckWanted(gone));
  v1::Adapter adapter;
  RETURN_IF_ERROR(UseFolder(uploaded, [&](const std::string& folder) -> absl::Status {
    ASSIGN_OR_RETURN(adapter, DescribeAdapter(folder, uploaded, model_folder));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(CheckWanted(gone));
  adapter.set_name(name_);
  adapter.set_base_model(model.name());
  adapter.set_base_model_sha256(model.sha256());
  ASSIGN_OR_RETURN(*response_, catalogue_.store.InsertAdapter(adapter));
  response_->set_directory(catalogue_.publisher.AdapterDirectory(name_));
  return catalogue_.publisher.Show(*response_);
}

}  // namespace graft
