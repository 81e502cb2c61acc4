#include "common/base/control_groups.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"

namespace graft {
namespace {

constexpr int64_t kMaxGroupsBytes = 1 << 20;

void AddUpwards(const std::string& mount, absl::string_view group,
                std::vector<std::string>* directories) {
  while (!group.empty() && group != "/") {
    directories->push_back(absl::StrCat(mount, group));
    group = group.substr(0, group.rfind('/'));
  }
  directories->push_back(mount);
}

}  // namespace

// Lines of /proc/self/cgroup are "HIERARCHY:CONTROLLERS:PATH"; v2's has no controllers.
std::vector<std::string> ControlGroups(absl::string_view controller, const std::string& root) {
  std::vector<std::string> directories;
  const std::string mount = JoinPath(root, "sys/fs/cgroup");
  const std::string groups =
      ReadFile(JoinPath(root, "proc/self/cgroup"), kMaxGroupsBytes).value_or("");
  for (const absl::string_view line : absl::StrSplit(groups, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    if (parts[1].empty()) {
      AddUpwards(mount, parts[2], &directories);
    } else if (std::find(controllers.begin(), controllers.end(), controller) != controllers.end()) {
      AddUpwards(JoinPath(mount, parts[1]), parts[2], &directories);
    }
  }
  return directories;
}

}  // namespace graft
