#include "worker/engine/run/machine_memory.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"

namespace graft {
namespace {

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
constexpr int64_t kMaxBytes = 1 << 20;  // Of a file of /proc or /sys.

std::string Read(const std::string& root, const std::string& path) {
  return ReadFile(JoinPath(root, path), kMaxBytes).value_or("");
}

// "max", and v1's number near the greatest of 64 bits, are no limit.
int64_t LimitIn(const std::string& text) {
  int64_t bytes = 0;
  return absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &bytes) && bytes > 0 ? bytes : kNone;
}

// "MemTotal:       16384 kB"
int64_t MemoryInMachine(const std::string& root) {
  const std::string text = Read(root, "proc/meminfo");
  const std::vector<std::string> words =
      absl::StrSplit(text.substr(0, text.find('\n')), absl::ByAnyChar(" \t"), absl::SkipEmpty());
  int64_t kib = 0;
  if (words.size() < 2 || words[0] != "MemTotal:" || !absl::SimpleAtoi(words[1], &kib)) {
    return kNone;
  }
  return kib * 1024;
}

// The least limit of the group `path` and those above it, each a directory of `mount`.
int64_t LeastLimit(const std::string& root, const std::string& mount, std::string path,
                   const char* file) {
  int64_t least = kNone;
  for (;;) {
    least = std::min(least, LimitIn(Read(root, mount + path + "/" + file)));
    if (path.empty()) return least;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

int64_t MachineMemoryBytesOf(const std::string& root) {
  int64_t least = MemoryInMachine(root);
  const std::string groups = Read(root, "proc/self/cgroup");
  // "HIERARCHY:CONTROLLERS:PATH"; v2's has no controllers.
  for (const absl::string_view line : absl::StrSplit(groups, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::string path = parts[2] == "/" ? "" : parts[2];
    if (parts[1].empty()) {
      least = std::min(least, LeastLimit(root, "sys/fs/cgroup", path, "memory.max"));
    } else if (parts[1] == "memory") {
      least =
          std::min(least, LeastLimit(root, "sys/fs/cgroup/memory", path, "memory.limit_in_bytes"));
    }
  }
  return least == kNone ? 0 : least;
}

int64_t MachineMemoryBytes() { return MachineMemoryBytesOf("/"); }

}  // namespace graft
