#pragma once

// The data of a server that is not there: a SQLite store, blobs and logs below one directory, and a
// clock that stands still.

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/blobs/file_blob_store.h"
#include "gtest/gtest.h"
#include "server/catalogue/job_logs.h"
#include "server/operations/artifacts_owner.h"
#include "server/operations/operation_progress.h"
#include "server/store/job_store.h"
#include "tests/fakes/temp_dir.h"

namespace graft {

inline bool GoOn(const admin::v1::Progress&) { return true; }

class DataFixture {
 public:
  explicit DataFixture(std::string data) : data_(std::move(data)) {
    StoreOptions options;
    options.clock = &clock_;
    store_ = *OpenJobStore(uri(), options);
    blobs_ = *FileBlobStore::Open(JoinPath(artifacts(), "blobs"));
    logs_ = *JobLogs::Open(JoinPath(artifacts(), "logs"));
    EXPECT_TRUE(ClaimArtifacts(artifacts(), uri(), *store_, *blobs_).ok());
  }

  const std::string& data() const { return data_; }
  std::string artifacts() const { return JoinPath(data_, "artifacts"); }
  std::string uri() const { return absl::StrCat("sqlite:", JoinPath(data_, "graft.db")); }
  JobStore& store() { return *store_; }
  FileBlobStore& blobs() { return *blobs_; }
  JobLogs& logs() { return *logs_; }
  FakeClock& clock() { return clock_; }

  // A data set of these bytes. Returns their hash.
  std::string Name(const std::string& name, const std::string& bytes) {
    const BlobInfo blob = *blobs_->Put(bytes);
    v1::Dataset dataset;
    dataset.set_name(name);
    dataset.set_sha256(blob.sha256);
    dataset.set_size_bytes(blob.size_bytes);
    EXPECT_TRUE(store_->InsertDataset(dataset).ok());
    return blob.sha256;
  }
  std::string PathOf(const std::string& sha256) const {
    return JoinPath(artifacts(), absl::StrCat("blobs/objects/", sha256.substr(0, 2), "/", sha256));
  }

 private:
  const std::string data_;
  FakeClock clock_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<FileBlobStore> blobs_;
  std::unique_ptr<JobLogs> logs_;
};

// Flips the lowest bit of the file's byte in the middle, as a disk would.
inline void FlipBit(const std::string& path) {
  std::string bytes = *ReadFile(path, int64_t{1} << 30);
  ASSERT_FALSE(bytes.empty());
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  // A new file: the old one may have a name elsewhere.
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
}

}  // namespace graft
