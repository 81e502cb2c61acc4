#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace graft {

// A regular file mapped read-only and shared. The bytes stay valid while this lives (moving it
// keeps them in place). Whoever owns the file must not shorten it meanwhile: reading past the new
// end raises SIGBUS. So only files that nobody rewrites in place are mapped: blobs and model
// folders. Thread-safe once opened.
class MappedFile {
 public:
  // Codes as in file.h; INVALID_ARGUMENT when it is not a regular file. An empty file maps to an
  // empty span.
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  // Gives back the memory that reading the bytes has taken of this process: they are read again
  // when they are looked at. Cheap where there is none.
  void ReleasePages() const;

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace graft
