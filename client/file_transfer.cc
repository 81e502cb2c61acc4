#include "client/file_transfer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

absl::Status CollectFiles(const std::string& directory, const std::string& prefix,
                          std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const std::vector<std::string> entries, ListDirectory(directory));
  for (const std::string& entry : entries) {
    if (absl::StartsWith(entry, ".")) continue;
    const std::string path = JoinPath(directory, entry);
    struct stat about;
    if (stat(path.c_str(), &about) != 0) return FileError(errno, "look at", path);
    if (S_ISDIR(about.st_mode)) {
      RETURN_IF_ERROR(CollectFiles(path, prefix + entry + "/", names));
    } else if (S_ISREG(about.st_mode)) {
      names.push_back(prefix + entry);
    }
  }
  return absl::OkStatus();
}

// A download's paths come from outside: no component may lead out of the folder.
bool IsSafePath(const std::string& path) {
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  return std::all_of(parts.begin(), parts.end(), [](const auto& p) { return IsSafeFileName(p); });
}

absl::Status CheckAbsent(const std::string& path) {
  if (!DirectoryExists(path) && !FileExists(path)) return absl::OkStatus();
  return absl::AlreadyExistsError(path + " is there already; choose another place");
}

}  // namespace

absl::Status SendFile(const std::string& path, int64_t offset,
                      const std::function<bool(const std::string& piece)>& send) {
  ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDONLY));
  std::string piece;
  for (;;) {
    piece.resize(kTransferChunkBytes);
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(file.get(), offset, absl::MakeSpan(piece.data(), piece.size()), path));
    if (count == 0) return absl::OkStatus();
    piece.resize(count);
    if (!send(piece)) return absl::OkStatus();
    offset += static_cast<int64_t>(count);
  }
}

absl::Status SendFiles(const std::vector<FileToSend>& files,
                       const std::function<bool(const v1::FileChunk&)>& send) {
  for (const FileToSend& file : files) {
    v1::FileChunk chunk;
    chunk.set_path(file.name);
    chunk.set_size_bytes(file.size_bytes);
    chunk.set_sha256(file.sha256);
    chunk.set_offset_bytes(file.offset_bytes);
    bool open = file.size_bytes > file.offset_bytes || send(chunk);
    RETURN_IF_ERROR(SendFile(file.path, file.offset_bytes, [&](const std::string& piece) {
      chunk.set_data(piece);
      open = send(chunk);
      chunk = v1::FileChunk();
      return open;
    }));
    if (!open) return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FilesBelow(const std::string& directory) {
  std::vector<std::string> names;
  RETURN_IF_ERROR(CollectFiles(directory, "", names));
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<FolderWriter> FolderWriter::Create(std::string directory) {
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  RETURN_IF_ERROR(CheckAbsent(directory));
  return FolderWriter(std::move(directory));
}

FolderWriter::~FolderWriter() {
  file_.reset();
  if (!temporary_.empty()) RemoveTree(temporary_).IgnoreError();
}

absl::Status FolderWriter::MakeTemporary() {
  RETURN_IF_ERROR(CreateDirectories(DirectoryOf(directory_)));
  std::string path = directory_ + ".partial-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) return FileError(errno, "make", path);
  temporary_ = std::move(path);
  return absl::OkStatus();
}

absl::Status FolderWriter::FinishFile() {
  if (!file_.has_value()) return absl::OkStatus();
  if (file_->size_bytes() != announced_bytes_) {
    return absl::DataLossError(absl::StrCat(name_, ": ", file_->size_bytes(), " bytes came, ",
                                            announced_bytes_, " were announced"));
  }
  RETURN_IF_ERROR(file_->Commit());
  file_.reset();
  return absl::OkStatus();
}

absl::Status FolderWriter::Write(const v1::FileChunk& chunk) {
  if (!chunk.path().empty()) {
    RETURN_IF_ERROR(FinishFile());
    if (!IsSafePath(chunk.path())) {
      return absl::DataLossError("the server sent the unsafe file name \"" + chunk.path() + "\"");
    }
    name_ = chunk.path();
    announced_bytes_ = chunk.size_bytes();
    if (temporary_.empty()) RETURN_IF_ERROR(MakeTemporary());
    const std::string path = JoinPath(temporary_, name_);
    RETURN_IF_ERROR(CreateDirectories(DirectoryOf(path)));
    ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
    file_.emplace(std::move(file));
  }
  if (!file_.has_value()) return absl::DataLossError("the server sent data before a file's name");
  return file_->Append(chunk.data());
}

absl::Status FolderWriter::Commit() {
  RETURN_IF_ERROR(FinishFile());
  if (temporary_.empty()) return absl::DataLossError("the server sent no files");
  const absl::Status renamed = RenameAndSync(temporary_, directory_);
  if (!renamed.ok()) {
    RETURN_IF_ERROR(CheckAbsent(directory_));
    return renamed;
  }
  temporary_.clear();
  return absl::OkStatus();
}

}  // namespace graft
