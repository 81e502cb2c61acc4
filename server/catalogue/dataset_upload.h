#pragma once

#include <string>

#include "common/blobs/file_blob_store.h"
#include "common/text/data_reader.h"
#include "graft/v1/dataset.pb.h"
#include "server/catalogue/catalogue.h"
#include "server/catalogue/file_upload.h"
#include "server/streams/message_stream.h"

namespace graft {

// What every row of a stored blob says, as far as that is known without a job: format, number of
// rows and the first row's fields. INVALID_ARGUMENT names the first broken lines; CANCELLED: nobody
// waits for it any more.
absl::Status CheckDatasetRows(const FileBlobStore& blobs, DataFormat format, const Gone& gone,
                              v1::Dataset* dataset);

// Takes a data set: bytes to a blob, then every row is read, then the name is given. What fails
// leaves a blob that no row names, or a partial upload, and nothing else. INVALID_ARGUMENT: no
// metadata first, a bad name, another number of bytes than said, a broken row; DATA_LOSS: other
// bytes than the hash says; ALREADY_EXISTS: the name holds other bytes; codes of FileUpload.
class DatasetUploadSink : public MessageSink<v1::UploadDatasetRequest> {
 public:
  // `response` is filled at the end.
  DatasetUploadSink(const Catalogue& catalogue, v1::Dataset* response)
      : catalogue_(catalogue), response_(response), file_(catalogue) {}
  absl::Status OnMessage(v1::UploadDatasetRequest& message) override;
  absl::Status OnEnd(const Gone& gone) override;

 private:
  absl::Status Begin(const v1::UploadDatasetRequest::Metadata& metadata);

  const Catalogue& catalogue_;
  v1::Dataset* const response_;
  v1::UploadDatasetRequest::Metadata metadata_;
  FileUpload file_;
};

}  // namespace graft
