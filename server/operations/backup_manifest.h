#pragma once

// What a backup says of itself:
//
//   DIR/BACKUP      JSON: which store, when, by which build, counts
//   DIR/SHA256SUMS  "<hash>  <path>" of every other file, BACKUP too: `sha256sum -c` reads it
//   DIR/…           the files, at the paths that they have in a data directory
//
// BACKUP is written last. So a directory without it is no backup, and a changed bit of any file,
// these two included, makes the two of them and the files disagree.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace graft {

// As kStoreFileName.
inline constexpr char kBackupStore[] = "graft.db";

struct BackupFile {
  std::string path;  // Relative, of safe names (IsSafeFileName).
  std::string sha256;
};

struct BackupManifest {
  std::string store_id;
  std::string time;     // RFC 3339, when the copy of the store began.
  std::string version;  // Of the graft-server that made it.
  int64_t schema = 0;
  int64_t jobs = 0;
  int64_t blobs = 0;
  int64_t blob_bytes = 0;
  // Blobs that the store names and that the backed-up server had not any more, or corrupt.
  std::vector<std::string> missing_blobs;
  std::vector<BackupFile> files;  // All but BACKUP and SHA256SUMS.
};

// Written and synced when this returns. Codes of common/base/file.h.
absl::Status WriteBackupManifest(const std::string& directory, const BackupManifest& manifest);

// NOT_FOUND: the directory is no backup. DATA_LOSS: what it says of itself was changed.
// FAILED_PRECONDITION: a newer graft made it, in a way that this one does not know.
absl::StatusOr<BackupManifest> ReadBackupManifest(const std::string& directory);

// Where a backup has the blob.
std::string BackupPathOfBlob(const std::string& sha256);

}  // namespace graft
