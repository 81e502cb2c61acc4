#include "server/store/tables.h"

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace graft {

std::string ToColumn(const JobNeeds& needs) {
  if (needs == JobNeeds()) return "";
  return absl::StrJoin({needs.device, needs.cpu_capability, needs.precision}, "\n");
}

JobNeeds NeedsFromColumn(absl::string_view column) {
  const std::vector<std::string> parts = absl::StrSplit(column, '\n');
  return parts.size() == 3 ? JobNeeds{parts[0], parts[1], parts[2]} : JobNeeds();
}

}  // namespace graft
