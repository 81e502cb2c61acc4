#include "server/catalogue/upload_room.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"

namespace graft {
namespace {

DiskSpace AskSystem(const std::string& directory) {
  struct statvfs answer;
  // What cannot be asked refuses nothing: the writers will say.
  if (::statvfs(directory.c_str(), &answer) != 0) {
    return {std::numeric_limits<int64_t>::max(), 0};
  }
  const auto unit = static_cast<int64_t>(answer.f_frsize);
  return {static_cast<int64_t>(answer.f_bavail) * unit,
          static_cast<int64_t>(answer.f_blocks) * unit};
}

std::atomic<DiskSpaceOf> disk_space_of = &AskSystem;

int64_t ReserveOf(const DiskSpace& disk) {
  return std::min(kDiskReserveBytes, disk.total_bytes / 20);
}

}  // namespace

void SetDiskSpaceForTest(DiskSpaceOf disk_space) {
  disk_space_of = disk_space == nullptr ? &AskSystem : disk_space;
}

DiskSpace DiskSpaceAt(const std::string& directory) { return disk_space_of.load()(directory); }

int64_t RoomForUploads(const FileBlobStore& blobs) {
  const DiskSpace disk = DiskSpaceAt(blobs.root());
  const int64_t of_disk = disk.free_bytes - ReserveOf(disk);
  return blobs.quota() ? std::min(of_disk, *blobs.quota() - blobs.stored_bytes()) : of_disk;
}

absl::Status UploadRoom::Begin(int64_t bytes) {
  unchecked_bytes_ = 0;
  return Check(bytes);
}

absl::Status UploadRoom::Grow(int64_t bytes) {
  unchecked_bytes_ += bytes;
  if (unchecked_bytes_ < kRoomStepBytes) return absl::OkStatus();
  unchecked_bytes_ = 0;
  return Check(bytes);
}

absl::Status UploadRoom::Check(int64_t bytes) const {
  const int64_t lacking = bytes - RoomForUploads(blobs_);
  if (lacking <= 0) return absl::OkStatus();
  if (make_way_ && make_way_(lacking) && bytes <= RoomForUploads(blobs_)) return absl::OkStatus();
  const DiskSpace disk = DiskSpaceAt(blobs_.root());
  const std::string what = absl::StrCat("no room for ", bytes, " bytes in ", blobs_.root(), ": ");
  if (blobs_.quota() && bytes <= disk.free_bytes - ReserveOf(disk)) {
    return DiskFull(absl::StrCat(what, blobs_.stored_bytes(), " of the ", *blobs_.quota(),
                                 " of --quota-gb are used"));
  }
  return DiskFull(absl::StrCat(what, disk.free_bytes, " are free, of which ", ReserveOf(disk),
                               " are kept for running jobs"));
}

}  // namespace graft
