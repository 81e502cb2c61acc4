#pragma once

// Keeps a worker's cache (input_cache.h and the engines' token files) from filling the disk.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace graft {

// Removes the regular files below `directory` that were used longest ago (MarkUsed) until the rest
// has at most `max_bytes`. Files used within `min_age` stay, whatever they take: an attempt that
// starts may need them by name (what is open or mapped survives its removal). Links are not
// followed and not counted. Returns the bytes removed; NOT_FOUND and the like as the file system
// says.
absl::StatusOr<int64_t> TrimCache(const std::string& directory, int64_t max_bytes,
                                  absl::Duration min_age);

}  // namespace graft
