#include "worker/agent/worker_id.h"

#include <cstdint>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"

namespace graft {

std::string NewWorkerId() {
  absl::BitGen random;
  return absl::StrCat("w-", absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
}

absl::StatusOr<std::string> WorkerIdIn(const std::string& state) {
  const std::string path = JoinPath(state, "id");
  const absl::StatusOr<std::string> kept = ReadFile(path, 256);
  if (kept.ok()) {
    const std::string id(absl::StripAsciiWhitespace(*kept));
    if (IsSafeFileName(id)) return id;
    Log(LogLevel::kWarning, "the worker's id is none: it gets another", {{"file", path}});
  } else if (!absl::IsNotFound(kept.status()) && !absl::IsResourceExhausted(kept.status())) {
    return kept.status();
  }
  const std::string id = NewWorkerId();
  RETURN_IF_ERROR(WriteFileAtomically(path, absl::StrCat(id, "\n")));
  return id;
}

}  // namespace graft
