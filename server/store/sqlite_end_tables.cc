// When jobs end, and ended. Methods of SqliteTables.

#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

constexpr char kListDeadlines[] =
    "SELECT number, deadline_ns FROM jobs INDEXED BY jobs_by_deadline "
    "WHERE owner = 'default' AND done = 0 AND deadline_ns IS NOT NULL ORDER BY deadline_ns LIMIT "
    "?1";

constexpr char kListDone[] =
    "SELECT number FROM jobs INDEXED BY jobs_done_since "
    "WHERE owner = 'default' AND done_since_ns IS NOT NULL AND done_since_ns < ?1 "
    "AND (?3 OR end_marked = 0) "
    "AND NOT EXISTS (SELECT 1 FROM job_uses WHERE job_uses.owner = 'default' AND kind = 4 "
    "AND name = 'jobs/' || jobs.id) "
    "AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE job = number AND pinned = 1) "
    "ORDER BY done_since_ns, number LIMIT ?2";
static_assert(static_cast<int>(ResourceKind::kJob) == 4);

constexpr char kListMarkedEnds[] =
    "SELECT id FROM jobs INDEXED BY jobs_end_marked WHERE owner = 'default' AND end_marked = 1 "
    "ORDER BY done_since_ns, number LIMIT ?1";

}  // namespace

absl::StatusOr<std::vector<Tables::JobDeadline>> SqliteTables::ListDeadlines(int limit) {
  SqliteQuery query(database_, kListDeadlines, limit);
  std::vector<JobDeadline> deadlines;
  while (query.Next()) {
    deadlines.push_back({query.Int(0), absl::FromUnixNanos(query.Int(1))});
  }
  RETURN_IF_ERROR(query.status());
  return deadlines;
}

absl::StatusOr<std::vector<int64_t>> SqliteTables::ListDoneBefore(absl::Duration running_time,
                                                                  bool with_marked_ends,
                                                                  int limit) {
  SqliteQuery query(database_, kListDone, absl::ToInt64Nanoseconds(running_time), limit,
                    with_marked_ends);
  std::vector<int64_t> numbers;
  while (query.Next()) numbers.push_back(query.Int(0));
  RETURN_IF_ERROR(query.status());
  return numbers;
}

absl::StatusOr<std::vector<std::string>> SqliteTables::ListMarkedEnds(int limit) {
  SqliteQuery query(database_, kListMarkedEnds, limit);
  std::vector<std::string> names;
  while (query.Next()) names.push_back(JobName(query.Text(0)));
  RETURN_IF_ERROR(query.status());
  return names;
}

}  // namespace graft
