#pragma once

#include <cstdint>

namespace graft {

// What graft leaves beside the files of an adapter or model that it made (docs/FORMATS.md).
inline constexpr char kGraftJson[] = "graft.json";
inline constexpr int64_t kMaxGraftJsonBytes = int64_t{16} << 20;

}  // namespace graft
