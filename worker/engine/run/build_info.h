#pragma once

namespace graft {

// What this engine was built from, for results to say (docs/FORMATS.md).

// SHA-256 over the sources that compute the numbers: all files below common/, proto/ and
// worker/engine/. Of a checkout, in its root:
//   find common proto worker/engine -type f | LC_ALL=C sort | xargs sha256sum | sha256sum
extern const char kCodeSha256[];
// "2.11.0".
extern const char kLibTorchVersion[];
// "GNU 12.2.0".
extern const char kCompiler[];

}  // namespace graft
