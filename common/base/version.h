#pragma once

namespace graft {

// The release, as CMakeLists.txt says it, with the commit it was built from where git was there:
// "0.1.0+1a2b3c4".
extern const char kVersion[];

}  // namespace graft
