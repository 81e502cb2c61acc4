#pragma once

#include <memory>
#include <string>

#include "graft/v1/adapter.pb.h"
#include "graft/v1/model.pb.h"
#include "server/catalogue/catalogue.h"
#include "server/catalogue/folder_upload.h"
#include "server/streams/message_stream.h"

namespace graft {

inline constexpr int kMaxUploadFiles = 64;  // Files of an imported adapter or model.

// Takes a model folder file by file; every tensor's presence and shape and the tokenizer are
// checked before the model gets its name. INVALID_ARGUMENT names what is wrong; ALREADY_EXISTS: the
// name holds another model. What fails leaves only blobs that no row names.
class ModelImportSink : public MessageSink<v1::ImportModelRequest> {
 public:
  ModelImportSink(const Catalogue& catalogue, v1::Model* response)
      : catalogue_(catalogue), response_(response), files_(catalogue.blobs, kMaxUploadFiles) {}
  absl::Status OnMessage(v1::ImportModelRequest& message) override;
  absl::Status OnEnd(const Gone& gone) override;

 private:
  const Catalogue& catalogue_;
  v1::Model* const response_;
  std::string name_;  // Empty before the metadata.
  FolderUpload files_;
};

// Takes a PEFT directory; config and tensors are checked against the base model.
class AdapterImportSink : public MessageSink<v1::ImportAdapterRequest> {
 public:
  AdapterImportSink(const Catalogue& catalogue, v1::Adapter* response)
      : catalogue_(catalogue), response_(response), files_(catalogue.blobs, kMaxUploadFiles) {}
  absl::Status OnMessage(v1::ImportAdapterRequest& message) override;
  absl::Status OnEnd(const Gone& gone) override;

 private:
  const Catalogue& catalogue_;
  v1::Adapter* const response_;
  std::string name_;
  std::string base_model_;
  FolderUpload files_;
};

// Makes known the model folders in `directory`, each by its folder's name. A folder whose files are
// as they were (size, time) at an earlier start is not read again. One whose files have changed
// takes the place of the model that was read from it. One that is broken, whose name belongs to a
// model that came from elsewhere, or whose former model is in use is logged and left out.
void ImportModelFolders(JobStore& store, FileBlobStore& blobs, const std::string& directory,
                        const std::string& cache_file);

}  // namespace graft
