#include "server/operations/copied_file.h"

#include <fcntl.h>

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

}  // namespace

absl::StatusOr<CopiedFile> CopyAndHash(int from, const std::string& from_name,
                                       const std::string& to, mode_t mode, const CopyPace& pace) {
  ASSIGN_OR_RETURN(const UniqueFd target, OpenFile(to, O_WRONLY | O_CREAT | O_EXCL, mode));
  std::string piece(kPieceBytes, '\0');
  Sha256 hash;
  CopiedFile copied;
  while (true) {
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(from, copied.size_bytes, absl::MakeSpan(piece), from_name));
    if (count == 0) break;
    const absl::string_view bytes(piece.data(), count);
    RETURN_IF_ERROR(WriteAll(target.get(), bytes, to));
    hash.Update(bytes);
    copied.size_bytes += static_cast<int64_t>(count);
    if (!pace(static_cast<int64_t>(count))) {
      return absl::CancelledError(absl::StrCat("the copy of ", from_name, " was ended"));
    }
  }
  RETURN_IF_ERROR(SyncFile(target.get(), to));
  copied.sha256 = hash.Hex();
  return copied;
}

mode_t ModeOfCopy(const std::string& relative_path) {
  return absl::StrContains(relative_path, "blobs/objects/") ? 0444 : 0600;
}

int64_t BytesBelow(const std::string& directory) {
  int64_t bytes = 0;
  for (const std::string& name : ListDirectory(directory).value_or(std::vector<std::string>())) {
    const std::string path = JoinPath(directory, name);
    bytes += DirectoryExists(path) ? BytesBelow(path) : FileSize(path).value_or(0);
  }
  return bytes;
}

absl::Status SyncDirectories(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    const std::string path = JoinPath(directory, name);
    if (DirectoryExists(path)) RETURN_IF_ERROR(SyncDirectories(path));
  }
  return SyncDirectory(directory);
}

}  // namespace graft
