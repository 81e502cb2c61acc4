#include "server/store/disk_reserve.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "common/base/file.h"

namespace graft {
namespace {

constexpr int64_t kPieceBytes = 64 * 1024;

}  // namespace

bool DiskReserve::Free() {
  if (held_ == 0 || ::ftruncate(fd_.get(), 0) != 0) return false;
  held_ = 0;
  return true;
}

void DiskReserve::Refill() {
  if (!fd_.valid()) {
    auto fd = OpenFile(path_, O_RDWR | O_CREAT);
    if (!fd.ok()) return;
    fd_ = *std::move(fd);
  }
  // In pieces, so that on a full disk all but a little comes back.
  while (held_ < bytes_ && ::fallocate(fd_.get(), 0, held_, kPieceBytes) == 0) held_ += kPieceBytes;
}

}  // namespace graft
