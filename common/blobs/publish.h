#pragma once

// Published directories: views of blobs that other programs read. The truth is a manifest in the
// store; a view can be lost and built again at any time.
//
//   ROOT/.by-uid/<uid>/…      hard links to the blobs, one for each file of the manifest
//   ROOT/<name>  ──symlink──▶ .by-uid/<uid>
//
// A view appears whole or not at all: it is built under a temporary name, synced and renamed. The
// readable name is a symbolic link, changed by rename too.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/blobs/file_blob_store.h"
#include "common/formats/manifest.h"

namespace graft {

// All views below one root. `blobs` should lie on the same file system; if it does not, files are
// copied. Thread-safe as long as one uid or name is not used by two calls at once. uid and name:
// IsSafeFileName, else INVALID_ARGUMENT.
class ViewPublisher {
 public:
  // Makes the root and removes what a killed process left half-built. `blobs` must outlive it.
  static absl::StatusOr<ViewPublisher> Open(std::string root, const FileBlobStore& blobs);

  // Builds the view's directory without a name, so that the Publish that follows has next to
  // nothing left to do. Errors as Publish.
  absl::Status Prepare(absl::string_view uid, const std::vector<ManifestFile>& files) const;

  // Makes ROOT/<name> show `files`. Whole views are left as they are, others are built again; a
  // name that showed another uid is moved. NOT_FOUND: a blob is missing, named by file and hash.
  // DATA_LOSS: a blob has another size, or other bytes than its name says. INVALID_ARGUMENT: see
  // CheckManifest. ALREADY_EXISTS: ROOT/<name> is something that this class did not make.
  // RESOURCE_EXHAUSTED: disk full. After an error the old view, if there was one, is still shown.
  absl::Status Publish(absl::string_view uid, absl::string_view name,
                       const std::vector<ManifestFile>& files) const;

  // Removes the view, and the name if it shows that view. OK when there is none.
  absl::Status Remove(absl::string_view uid, absl::string_view name) const;

  // Removes the directories that no name shows: of a Prepare without Publish.
  absl::Status RemoveUnnamed() const;

  // Are the name and every file there, and is each the blob's own file (or a copy of its bytes)?
  // Reads no contents but, the first time, those of copies.
  bool IsWhole(absl::string_view uid, absl::string_view name,
               const std::vector<ManifestFile>& files) const;

  // Directory of a view, whether it is there or not.
  std::string PathOf(absl::string_view uid) const;

 private:
  ViewPublisher(std::string root, const FileBlobStore& blobs)
      : root_(std::move(root)), blobs_(&blobs) {}

  bool HasFiles(absl::string_view uid, const std::vector<ManifestFile>& files) const;
  absl::Status Build(const std::string& directory, const std::vector<ManifestFile>& files) const;
  absl::Status Install(const std::string& built, const std::string& directory) const;
  // RemoveTree that keeps what is known of the blobs' bytes.
  absl::Status RemoveView(const std::string& path) const;
  absl::Status LinkName(absl::string_view uid, absl::string_view name) const;

  std::string root_;
  const FileBlobStore* blobs_;
};

}  // namespace graft
