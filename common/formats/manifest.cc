#include "common/formats/manifest.h"

#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace graft {

namespace {
constexpr size_t kMaxPathParts = 8;
}  // namespace

std::string ManifestSha256(std::vector<ManifestFile> files) {
  std::sort(files.begin(), files.end(),
            [](const ManifestFile& a, const ManifestFile& b) { return a.path < b.path; });
  Sha256 hash;
  for (const ManifestFile& file : files) {
    hash.Update(absl::StrCat(file.sha256, " ", file.size_bytes, " ", file.path, "\n"));
  }
  return hash.Hex();
}

absl::StatusOr<ManifestFile> DescribeFile(const std::string& folder, const std::string& path) {
  const std::string full = JoinPath(folder, path);
  ManifestFile file;
  file.path = path;
  ASSIGN_OR_RETURN(file.size_bytes, FileSize(full));
  ASSIGN_OR_RETURN(file.sha256, Sha256HexOfFile(full));
  return file;
}

absl::Status CheckManifest(const std::vector<ManifestFile>& files) {
  if (files.size() > static_cast<size_t>(kMaxManifestFiles)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a manifest of ", files.size(), " files; at most ", kMaxManifestFiles));
  }
  std::set<std::string> paths;
  std::set<std::string> directories;
  for (const ManifestFile& file : files) {
    const auto error = [&](absl::string_view problem) {
      return absl::InvalidArgumentError(absl::StrCat(
          "manifest entry '", absl::Utf8SafeCEscape(Shortened(file.path, 300)), "': ", problem));
    };
    const std::vector<std::string> parts = absl::StrSplit(file.path, '/');
    if (parts.size() > kMaxPathParts) return error("more than 8 directories deep");
    std::string directory;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (!IsSafeFileName(parts[i])) {
        return error("each part must be [A-Za-z0-9._-]{1,128} without a leading dot");
      }
      if (i + 1 < parts.size()) {
        directory = JoinPath(directory, parts[i]);
        directories.insert(directory);
      }
    }
    if (!paths.insert(file.path).second) return error("is there twice");
    if (!IsSha256Hex(file.sha256)) return error("sha256 must be 64 lower-case hexadecimal digits");
    if (file.size_bytes < 0) return error("the size is negative");
  }
  for (const std::string& path : paths) {
    if (directories.contains(path)) {
      return absl::InvalidArgumentError(
          absl::StrCat("manifest entry '", path, "' is a file and a directory"));
    }
  }
  return absl::OkStatus();
}

}  // namespace graft
