#include "server/store/tables.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/jobs/names.h"

namespace graft {

std::string StudyIdOf(const v1::Study& study) {
  return std::string(absl::StripPrefix(study.name(), kStudyPrefix));
}

std::string ToColumn(const JobNeeds& needs) {
  if (needs == JobNeeds()) return "";
  // Without methods as builds before them wrote it.
  return absl::StrCat(absl::StrJoin({needs.device, needs.cpu_capability, needs.precision}, "\n"),
                      needs.methods.empty() ? "" : "\n", needs.methods);
}

JobNeeds NeedsFromColumn(absl::string_view column) {
  const std::vector<std::string> parts = absl::StrSplit(column, '\n');
  if (parts.size() < 3) return JobNeeds();
  return {parts[0], parts[1], parts[2], parts.size() > 3 ? parts[3] : ""};
}

}  // namespace graft
