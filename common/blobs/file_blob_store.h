#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/blobs/blob_store.h"

namespace graft {

// Blobs as files of one directory tree:
//
//   ROOT/objects/ab/abcd…  one file a blob, named by its hash, mode 0444 (views are hard links of
//   it: see publish.h) ROOT/incoming/…        what is being written; emptied by Open
//
// A blob is written to incoming/, fsynced, renamed, and its directory fsynced; a failed fsync ends
// the process (common/base/file.h). One process owns a root, which the caller sees to. It may be
// read by others.
class FileBlobStore : public BlobStore {
 public:
  // Makes the directories that are missing. Codes of common/base/file.h.
  static absl::StatusOr<std::unique_ptr<FileBlobStore>> Open(std::string root);

  absl::StatusOr<std::unique_ptr<BlobWriter>> NewWriter(const BlobExpectation& expected) override;
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(absl::string_view sha256) const override;
  absl::StatusOr<BlobInfo> Stat(absl::string_view sha256) const override;
  absl::Status ForEach(const std::function<bool(const BlobInfo&)>& visit) const override;
  absl::StatusOr<BlobInfo> Keep(absl::string_view sha256) override ABSL_LOCKS_EXCLUDED(age_mutex_);
  absl::Status Delete(absl::string_view sha256) override;

  // Whether it was written, or last kept, longer ago than `age`. False when there is none.
  bool IsOlder(absl::string_view sha256, absl::Duration age) const;
  // Delete for a collector that found no row that names the blob: false, and nothing is done, when
  // somebody has kept it since.
  absl::StatusOr<bool> DeleteIfOlder(absl::string_view sha256, absl::Duration age)
      ABSL_LOCKS_EXCLUDED(age_mutex_);
  // Where the blob lies, for processes of the same machine that map it. NOT_FOUND, INVALID_ARGUMENT
  // as Open. The file must not be changed.
  absl::StatusOr<std::string> PathOf(absl::string_view sha256) const;

  const std::string& root() const { return root_; }

 private:
  explicit FileBlobStore(std::string root) : root_(std::move(root)) {}

  const std::string root_;
  Mutex age_mutex_;  // Between a look at a blob's age and what follows from it.
};

}  // namespace graft
