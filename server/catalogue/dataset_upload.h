#pragma once

#include <memory>
#include <string>

#include "common/blobs/file_blob_store.h"
#include "common/text/data_reader.h"
#include "graft/v1/dataset.pb.h"
#include "server/catalogue/upload_room.h"
#include "server/store/job_store.h"
#include "server/streams/message_stream.h"

namespace graft {

// What every row of a stored blob says, as far as that is known without a job: format, number of
// rows and the first row's fields. INVALID_ARGUMENT names the first broken lines; CANCELLED: nobody
// waits for it any more.
absl::Status CheckDatasetRows(const FileBlobStore& blobs, DataFormat format, const Gone& gone,
                              v1::Dataset* dataset);

// Takes a data set: bytes to a blob, then every row is read, then the name is given. What fails
// leaves a blob that no row names, and nothing else. INVALID_ARGUMENT: no metadata first, a bad
// name, another number of bytes than said, a broken row; DATA_LOSS: other bytes than the hash says;
// ALREADY_EXISTS: the name holds other bytes; RESOURCE_EXHAUSTED: see UploadRoom.
class DatasetUploadSink : public MessageSink<v1::UploadDatasetRequest> {
 public:
  // `response` is filled at the end.
  DatasetUploadSink(JobStore& store, FileBlobStore& blobs, v1::Dataset* response)
      : store_(store), blobs_(blobs), response_(response), room_(blobs.root()) {}
  absl::Status OnMessage(v1::UploadDatasetRequest& message) override;
  absl::Status OnEnd(const Gone& gone) override;

 private:
  absl::Status Begin(const v1::UploadDatasetRequest::Metadata& metadata);

  JobStore& store_;
  FileBlobStore& blobs_;
  v1::Dataset* const response_;
  v1::UploadDatasetRequest::Metadata metadata_;
  UploadRoom room_;
  std::unique_ptr<BlobWriter> writer_;
};

}  // namespace graft
