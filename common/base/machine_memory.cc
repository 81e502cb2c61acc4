#include "common/base/machine_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/control_groups.h"
#include "common/base/file.h"

namespace graft {
namespace {

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
constexpr int64_t kMaxBytes = 1 << 20;  // Of a file of /proc or /sys.
constexpr int64_t kBytesForOthers = int64_t{1} << 30;

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

}  // namespace

int64_t MachineMemoryBytesOf(const std::string& root) {
  int64_t least = MemoryInMachine(root);
  for (const std::string& group : ControlGroups("memory", root)) {
    for (const char* file : {"memory.max", "memory.limit_in_bytes"}) {
      least = std::min(least, LimitIn(Read(group, file)));
    }
  }
  return least == kNone ? 0 : least;
}

int64_t MachineMemoryBytes() {
  int64_t least = MachineMemoryBytesOf("/");
  for (const auto which : {RLIMIT_DATA, RLIMIT_AS}) {
    rlimit limit;
    if (getrlimit(which, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) continue;
    const auto bytes = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kNone));
    least = least == 0 ? bytes : std::min(least, bytes);
  }
  return least;
}

int64_t OomKillCount(const std::string& root) {
  for (const std::string& group : ControlGroups("memory", root)) {
    for (const char* file : {"memory.events", "memory.oom_control"}) {
      const std::string text = Read(group, file);
      for (absl::string_view line : absl::StrSplit(text, '\n')) {
        int64_t count = 0;
        if (absl::ConsumePrefix(&line, "oom_kill ") && absl::SimpleAtoi(line, &count)) return count;
      }
    }
  }
  return 0;
}

int64_t EngineMemoryBudget(int64_t machine_bytes, int64_t engines) {
  return std::max(machine_bytes - kBytesForOthers, machine_bytes / 2) / engines;
}

}  // namespace graft
