#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/blobs/file_blob_store.h"

namespace graft {

// Bytes of a file system.
struct DiskSpace {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
};

// Of the file system of `directory`, which exists: what this process may still write, and all. What
// cannot be asked is without bounds.
DiskSpace DiskSpaceAt(const std::string& directory);

// An upload leaves this much free, or a twentieth of a small disk: for the events of jobs that run
// and for what frees the disk again.
inline constexpr int64_t kDiskReserveBytes = int64_t{256} << 20;
// What uploads may still write there, of the disk and of the quota; negative: the reserve is not
// free any more, or more is stored than may be.
int64_t RoomForUploads(const FileBlobStore& blobs);
// An upload asks again whether there is room whenever it has grown by so much.
inline constexpr int64_t kRoomStepBytes = int64_t{16} << 20;

// Is there room on the disk for an upload? One for each. RESOURCE_EXHAUSTED (DISK_FULL) when there
// is not: at once when the upload said how large it is, else while it grows. Asks only for room, so
// uploads beside one another may still fill the disk, which their writers then say. One thread at a
// time.
class UploadRoom {
 public:
  // `blobs`: where the bytes go. `make_way` deletes so many bytes that may go for an upload; false:
  // it cannot, and has deleted nothing.
  explicit UploadRoom(const FileBlobStore& blobs, std::function<bool(int64_t bytes)> make_way = {})
      : blobs_(blobs), make_way_(std::move(make_way)) {}

  // Another file begins. `bytes`: as announced; 0 when its size is not known.
  absl::Status Begin(int64_t bytes);
  // `bytes` are about to be written.
  absl::Status Grow(int64_t bytes);

 private:
  absl::Status Check(int64_t bytes) const;

  const FileBlobStore& blobs_;
  const std::function<bool(int64_t bytes)> make_way_;
  int64_t unchecked_bytes_ = 0;  // Since the disk was asked.
};

// Tests put their own disk here; nullptr restores the system's.
using DiskSpaceOf = DiskSpace (*)(const std::string& directory);
void SetDiskSpaceForTest(DiskSpaceOf disk_space);

}  // namespace graft
