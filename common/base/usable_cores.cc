#include "common/base/usable_cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/control_groups.h"
#include "common/base/file.h"

namespace graft {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 16;

// The words of a small file; none when there is no such file.
std::vector<std::string> WordsOf(const std::string& path) {
  return absl::StrSplit(ReadFile(path, kMaxFileBytes).value_or(""), absl::ByAnyChar(" \n"),
                        absl::SkipEmpty());
}

double Quotient(const std::string& quota, const std::string& period) {
  double a = 0, b = 0;
  const bool limited = absl::SimpleAtod(quota, &a) && absl::SimpleAtod(period, &b);
  return limited && a > 0 && b > 0 ? a / b : std::numeric_limits<double>::infinity();
}

// CPUs that the group at `directory` may use: v2's cpu.max is "QUOTA PERIOD" or "max PERIOD", v1
// has a file for each, the quota -1 without a limit.
double QuotaOf(const std::string& directory) {
  const std::vector<std::string> max = WordsOf(JoinPath(directory, "cpu.max"));
  if (max.size() == 2) return Quotient(max[0], max[1]);
  const std::vector<std::string> quota = WordsOf(JoinPath(directory, "cpu.cfs_quota_us"));
  const std::vector<std::string> period = WordsOf(JoinPath(directory, "cpu.cfs_period_us"));
  if (quota.size() == 1 && period.size() == 1) return Quotient(quota[0], period[0]);
  return std::numeric_limits<double>::infinity();
}

}  // namespace

int UsableCoresOf(const std::vector<int>& affinity, const std::string& root) {
  std::set<std::string> cores;
  for (const int cpu : affinity) {
    const std::vector<std::string> siblings = WordsOf(JoinPath(
        root, absl::StrCat("sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list")));
    cores.insert(siblings.empty() ? absl::StrCat("alone ", cpu) : siblings[0]);
  }
  double most = static_cast<double>(cores.size());
  for (const std::string& group : ControlGroups("cpu", root)) most = std::min(most, QuotaOf(group));
  return std::max(1, static_cast<int>(std::floor(most)));
}

int UsableCores() {
  // As many as a kernel may have; sched_getaffinity wants no fewer than the machine's.
  constexpr int kMaxCpus = 8192;
  cpu_set_t* const set = CPU_ALLOC(kMaxCpus);
  const size_t bytes = CPU_ALLOC_SIZE(kMaxCpus);
  CPU_ZERO_S(bytes, set);
  std::vector<int> affinity;
  if (sched_getaffinity(0, bytes, set) == 0) {
    for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, set)) affinity.push_back(cpu);
    }
  }
  CPU_FREE(set);
  return UsableCoresOf(affinity, "/");
}

}  // namespace graft
