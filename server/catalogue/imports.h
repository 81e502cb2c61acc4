#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "graft/v1/adapter.pb.h"
#include "graft/v1/model.pb.h"
#include "server/catalogue/catalogue.h"
#include "server/catalogue/folder_upload.h"
#include "server/streams/message_stream.h"

namespace graft {

inline constexpr int kMaxUploadFiles = 64;  // Files of an imported adapter or model.

// Takes the metadata of an import, then a folder file by file. What fails leaves only partial
// uploads, and blobs that no row names.
template <typename Request, typename Resource>
class ImportSink : public MessageSink<Request> {
 public:
  // `response` is filled at the end.
  ImportSink(const Catalogue& catalogue, Resource* response)
      : catalogue_(catalogue), response_(response), files_(catalogue, kMaxUploadFiles) {}
  absl::Status OnMessage(Request& message) final;
  absl::Status OnEnd(const Gone& gone) final;

 protected:
  // The name is good.
  virtual absl::Status Begin(const typename Request::Metadata& metadata) = 0;
  virtual absl::Status Import(const std::vector<ManifestFile>& uploaded, const Gone& gone) = 0;

  // Publisher::WithFolder of what was uploaded; INVALID_ARGUMENT of the field "chunk" where `use`
  // failed by the files.
  absl::Status UseFolder(const std::vector<ManifestFile>& uploaded,
                         const std::function<absl::Status(const std::string& folder)>& use);

  const Catalogue& catalogue_;
  Resource* const response_;
  std::string name_;  // Empty before the metadata.

 private:
  FolderUpload files_;
};

// Takes a model folder; every tensor's presence and shape and the tokenizer are checked before the
// model gets its name. INVALID_ARGUMENT names what is wrong; ALREADY_EXISTS: the name holds another
// model.
class ModelImportSink : public ImportSink<v1::ImportModelRequest, v1::Model> {
 public:
  using ImportSink::ImportSink;

 protected:
  absl::Status Begin(const v1::ImportModelRequest::Metadata& metadata) override;
  absl::Status Import(const std::vector<ManifestFile>& uploaded, const Gone& gone) override;
};

// Takes a PEFT directory; config and tensors are checked against the base model.
class AdapterImportSink : public ImportSink<v1::ImportAdapterRequest, v1::Adapter> {
 public:
  using ImportSink::ImportSink;

 protected:
  absl::Status Begin(const v1::ImportAdapterRequest::Metadata& metadata) override;
  absl::Status Import(const std::vector<ManifestFile>& uploaded, const Gone& gone) override;

 private:
  std::string base_model_;
};

// Makes known the model folders in `directory`, each by its folder's name. A folder whose files are
// as they were (size, time) at an earlier start is not read again. One whose files have changed
// takes the place of the model that was read from it. One that is broken, whose name belongs to a
// model that came from elsewhere, or whose former model is in use is logged and left out.
void ImportModelFolders(JobStore& store, FileBlobStore& blobs, const std::string& directory,
                        const std::string& cache_file);

}  // namespace graft
