#include "common/base/failpoint.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/mutex.h"

namespace graft {
namespace failpoint_internal {
std::atomic<bool> armed{false};
}  // namespace failpoint_internal

namespace {

constexpr char kEnvironment[] = "GRAFT_FAILPOINTS";

enum class Action { kKill, kDelay, kName };

struct Entry {
  std::string name;
  Action action = Action::kKill;
  int64_t at = 0;  // 0: each time.
  int64_t reached = 0;
};

struct Armed {
  Mutex mutex;
  std::vector<Entry> entries ABSL_GUARDED_BY(mutex);
};
Armed& TheArmed() {
  static auto* const armed = new Armed;
  return *armed;
}

absl::Status NoEntry(absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat(kEnvironment, ": \"", text, "\" is not [PROGRAM/]NAME=kill|delay|name[@N]"));
}

absl::StatusOr<Entry> ParseEntry(absl::string_view text) {
  const std::vector<absl::string_view> sides = absl::StrSplit(text, '=');
  if (sides.size() != 2 || sides[0].empty()) return NoEntry(text);
  const std::pair<absl::string_view, absl::string_view> action =
      absl::StrSplit(sides[1], absl::MaxSplits('@', 1));
  Entry entry;
  entry.name = std::string(sides[0]);
  if (action.first == "delay") {
    entry.action = Action::kDelay;
  } else if (action.first == "name") {
    entry.action = Action::kName;
  } else if (action.first != "kill") {
    return NoEntry(text);
  }
  const bool counts = action.first.size() < sides[1].size();
  if (counts && (!absl::SimpleAtoi(action.second, &entry.at) || entry.at < 1)) return NoEntry(text);
  return entry;
}

}  // namespace

namespace failpoint_internal {

void Reach(absl::string_view group, absl::string_view step, absl::string_view moment) {
  const std::string name = absl::StrCat(group, ".", step, ".", moment);
  bool delays = false;
  {
    Armed& armed = TheArmed();
    MutexLock lock(armed.mutex);
    for (Entry& entry : armed.entries) {
      if ((entry.name != name && entry.name != "*") || (++entry.reached != entry.at && entry.at)) {
        continue;
      }
      if (entry.action == Action::kKill) ::raise(SIGKILL);
      if (entry.action == Action::kName) std::fprintf(stderr, "failpoint %s\n", name.c_str());
      delays = delays || entry.action == Action::kDelay;
    }
  }
  if (delays) std::this_thread::sleep_for(kFailpointDelay);
}

}  // namespace failpoint_internal

absl::Status ArmFailpoints(absl::string_view entries) {
  std::vector<Entry> parsed;
  for (absl::string_view text : absl::StrSplit(entries, ',', absl::SkipEmpty())) {
    const size_t slash = text.find('/');
    if (slash != absl::string_view::npos) {
      if (text.substr(0, slash) != program_invocation_short_name) continue;
      text.remove_prefix(slash + 1);
    }
    absl::StatusOr<Entry> entry = ParseEntry(text);
    if (!entry.ok()) return entry.status();
    parsed.push_back(*std::move(entry));
  }
  Armed& armed = TheArmed();
  MutexLock lock(armed.mutex);
  failpoint_internal::armed = !parsed.empty();
  armed.entries = std::move(parsed);
  return absl::OkStatus();
}

absl::Status ArmFailpointsOfEnvironment() {
  const char* const entries = std::getenv(kEnvironment);
  return entries == nullptr ? absl::OkStatus() : ArmFailpoints(entries);
}

}  // namespace graft
