#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/unique_fd.h"
#include "common/blobs/blob_store.h"
#include "common/blobs/hash_cache.h"

namespace graft {

// Blobs as files of one directory tree:
//
//   ROOT/objects/ab/abcd…  one file a blob, named by its hash, mode 0444 (views are hard links of
//   it: see publish.h) ROOT/incoming/…        what is being written; emptied by Open
//
// A blob is written to incoming/, fsynced, renamed, and its directory fsynced; a failed fsync ends
// the process (common/base/file.h). One process owns a root, which the caller sees to. It may be
// read by others.
//
// Whatever gives bytes away (Open, PathOf, Link) has compared them with the blob's name, at the
// cost of reading them the first time (HashCache); DATA_LOSS is the answer where they differ.
// Writing the right bytes once more mends such a blob.
class FileBlobStore : public BlobStore {
 public:
  // Makes the directories that are missing. Codes of common/base/file.h.
  static absl::StatusOr<std::unique_ptr<FileBlobStore>> Open(std::string root);

  absl::StatusOr<std::unique_ptr<BlobWriter>> NewWriter(const BlobExpectation& expected) override;
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(absl::string_view sha256) const override;
  absl::StatusOr<BlobInfo> Stat(absl::string_view sha256) const override;
  absl::Status ForEach(const std::function<bool(const BlobInfo&)>& visit) const override;
  absl::StatusOr<BlobInfo> Keep(absl::string_view sha256) override
      ABSL_LOCKS_EXCLUDED(stamp_mutex_);
  absl::Status Delete(absl::string_view sha256) override;
  absl::Status Verify(absl::string_view sha256) const override;

  // Makes a file of the same file system that somebody else wrote, open as `fd`, the blob of its
  // hash, which he has made of what he read and wrote through `fd`. As BlobWriter::Commit; where
  // the blob was there already, `path` still is.
  absl::Status Adopt(const std::string& path, int fd, absl::string_view sha256);

  // What all blobs together may have, for who lets bytes in; unset: what the disk has. Set before
  // the first of them asks.
  void SetQuota(int64_t bytes) { quota_ = bytes; }
  std::optional<int64_t> quota() const { return quota_; }
  // Bytes of all blobs: as CountBytes found them last, with those that came and went since.
  int64_t stored_bytes() const { return stored_bytes_; }
  // Looks at each. Codes of common/base/file.h.
  absl::Status CountBytes();

  // What tells a touched blob: another number after each Keep and Commit, compared and never
  // counted with. NOT_FOUND.
  absl::StatusOr<int64_t> StampOf(absl::string_view sha256) const;
  // Delete for a collector that found no row that names the blob: false, and nothing is done, when
  // its stamp is another: somebody has kept it since.
  absl::StatusOr<bool> DeleteIfUntouched(absl::string_view sha256, int64_t stamp)
      ABSL_LOCKS_EXCLUDED(stamp_mutex_);
  // While the result lives, DeleteIfUntouched deletes nothing: for who copies blobs that rows named
  // a moment ago. It may not outlive this.
  std::shared_ptr<void> HoldDeletions() ABSL_LOCKS_EXCLUDED(stamp_mutex_);
  bool deletions_held() const ABSL_LOCKS_EXCLUDED(stamp_mutex_);
  // Where the blob lies, for processes of the same machine that map it. Codes of Open. The file
  // must not be changed.
  absl::StatusOr<std::string> PathOf(absl::string_view sha256) const;
  // Gives the blob the further name `path`: a hard link, or a copy where there can be none. Codes
  // of Open.
  absl::Status Link(absl::string_view sha256, const std::string& path) const;
  // Takes such a name away, and the blob need not be read again for it. Codes of
  // common/base/file.h.
  absl::Status Unlink(const std::string& path) const;
  // Whether the file at `path` is the blob's own (a link), or a copy that holds its bytes. Says
  // nothing about the blob's bytes.
  bool IsLinkOrCopy(absl::string_view sha256, const std::string& path) const;

  // Reads the blob from the disk and compares, whatever is known of it, at the pace that is told.
  // CANCELLED: `pace` returned false. Codes of Open.
  absl::Status Scrub(absl::string_view sha256, const HashPace& pace) const;
  // Blobs that were found corrupt and are neither replaced nor deleted since, sorted.
  std::vector<std::string> Corrupt() const;
  // How many corrupt ones were replaced: what links to the old files must be made again.
  int64_t repairs() const;

  const std::string& root() const { return root_; }

 private:
  friend class FileBlobWriter;
  explicit FileBlobStore(std::string root) : root_(std::move(root)) {}

  // The open file of the blob, its bytes compared.
  absl::StatusOr<UniqueFd> OpenChecked(absl::string_view sha256) const;
  // Notes what a look at the bytes of the open file came to, and returns it; nothing is noted where
  // the blob has been deleted or replaced since it was opened.
  absl::Status NoteChecked(absl::string_view sha256, int fd, const absl::Status& status) const
      ABSL_LOCKS_EXCLUDED(corrupt_mutex_);
  void NoteReplaced(absl::string_view sha256);

  const std::string root_;
  mutable HashCache hashes_;
  std::optional<int64_t> quota_;
  std::atomic<int64_t> stored_bytes_ = 0;
  mutable Mutex corrupt_mutex_;
  mutable std::set<std::string> corrupt_ ABSL_GUARDED_BY(corrupt_mutex_);
  int64_t repairs_ ABSL_GUARDED_BY(corrupt_mutex_) = 0;
  mutable Mutex stamp_mutex_;  // Between a look at a blob's stamp and what follows from it.
  int holds_ ABSL_GUARDED_BY(stamp_mutex_) = 0;
};

}  // namespace graft
