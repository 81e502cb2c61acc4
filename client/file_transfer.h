#pragma once

// Files and folders in pieces: what uploads send and downloads write.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "graft/v1/job.pb.h"

namespace graft {

inline constexpr size_t kTransferChunkBytes = 512 << 10;

// A transfer may take long, but not for ever.
inline constexpr absl::Duration kTransferTimeout = absl::Hours(6);

// A file of this machine that is uploaded.
struct FileToSend {
  std::string name;  // In the folder that it belongs to.
  std::string path;
  int64_t size_bytes = 0;
  std::string sha256;
  int64_t offset_bytes = 0;  // What comes before it, the server has.
};

// Reads a file piece by piece, from `offset` on; `send` returns false when the receiver is gone
// (which is not an error of the file).
absl::Status SendFile(const std::string& path, int64_t offset,
                      const std::function<bool(const std::string& piece)>& send);

// Sends the files as FileChunks.
absl::Status SendFiles(const std::vector<FileToSend>& files,
                       const std::function<bool(const v1::FileChunk&)>& send);

// Names of all regular files below a folder, subfolders included ("lora/adapter_config.json"),
// sorted. Hidden ones are left out.
absl::StatusOr<std::vector<std::string>> FilesBelow(const std::string& directory);

// Writes the chunks of a download below a folder that appears whole or not at all. Until then they
// are in a new folder of its own beside it, which the first chunk makes ("TARGET.partial-Xy12Zz").
// Destroyed without Commit, it leaves nothing.
class FolderWriter {
 public:
  // ALREADY_EXISTS: `directory` is there.
  static absl::StatusOr<FolderWriter> Create(std::string directory);
  FolderWriter(FolderWriter&&) = default;
  ~FolderWriter();

  absl::Status Write(const v1::FileChunk& chunk);
  // DATA_LOSS: a file is shorter than it was announced, or none came. ALREADY_EXISTS: somebody else
  // made `directory` meanwhile.
  absl::Status Commit();

 private:
  explicit FolderWriter(std::string directory) : directory_(std::move(directory)) {}
  absl::Status MakeTemporary();
  absl::Status FinishFile();

  std::string directory_;
  std::string temporary_;  // Empty before the first chunk, and after Commit.
  std::string name_;       // Of the file being written.
  int64_t announced_bytes_ = 0;
  std::optional<AtomicFile> file_;
};

}  // namespace graft
