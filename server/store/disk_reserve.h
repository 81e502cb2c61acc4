#pragma once

#include <cstdint>
#include <string>

#include "common/base/unique_fd.h"

namespace graft {

// A file that takes up room, so that there is some on a full disk for what makes room: Free gives
// it to the next writes, Refill takes back what is left. Where the file system cannot set room
// aside, there is no reserve. One thread at a time.
class DiskReserve {
 public:
  // `bytes`: a multiple of 64 KiB. Does nothing before the first Refill.
  DiskReserve(std::string path, int64_t bytes) : path_(std::move(path)), bytes_(bytes) {}

  // False: it holds nothing.
  bool Free();
  // As much of its size as there is room for.
  void Refill();
  bool full() const { return held_ == bytes_; }

 private:
  const std::string path_;
  const int64_t bytes_;
  UniqueFd fd_;
  int64_t held_ = 0;
};

}  // namespace graft
