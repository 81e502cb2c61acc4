#pragma once

// What a directory of files consists of: the truth of which directories are views.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace graft {

struct ManifestFile {
  std::string path;  // relative, parts separated by '/', each IsSafeFileName
  int64_t size_bytes = 0;
  std::string sha256;  // 64 lower-case hexadecimal digits
  bool operator==(const ManifestFile&) const = default;
};

// One hash for a set of files: SHA-256 of the lines "<sha256> <size> <path>\n", sorted by path
// bytewise. The order in which files are given, their times and their folder do not count.
// `sha256sum` and `sort` can repeat it.
std::string ManifestSha256(std::vector<ManifestFile> files);

// Size and hash of `folder`/`path`. Codes of common/base/file.h.
absl::StatusOr<ManifestFile> DescribeFile(const std::string& folder, const std::string& path);

// INVALID_ARGUMENT, naming the entry: a path that is empty, absolute or has an unsafe part, more
// than 8 parts, a path that is there twice or is also the directory of another, a hash that is
// none, a negative size, more than kMaxManifestFiles files.
inline constexpr int kMaxManifestFiles = 4096;
absl::Status CheckManifest(const std::vector<ManifestFile>& files);

}  // namespace graft
