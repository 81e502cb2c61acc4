#pragma once

#include <cstdint>
#include <string>

namespace graft {

std::string FormatBytes(int64_t bytes);  // "1.2 MB"

}  // namespace graft
