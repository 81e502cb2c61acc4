// Jobs and what goes with them one to one. SqliteTables' other methods: sqlite_log_tables.cc (what
// jobs leave behind) and sqlite_catalogue_tables.cc.

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "nlohmann/json.hpp"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

#define JOB_COLUMNS_FROM                                                                    \
  "SELECT number, version, lease_epoch, failures_in_row, method, base_model, output_kind, " \
  "output_name, job FROM jobs "
#define JOB_COLUMNS JOB_COLUMNS_FROM "WHERE owner = 'default'"

constexpr char kInsertJob[] =
    "INSERT INTO jobs (id, version, lease_epoch, failures_in_row, state, done, queue_rank, study, "
    "method, base_model, display_name, output_kind, output_name, last_sequence, create_time_ns, "
    "job) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
constexpr char kUpdateJob[] =
    "UPDATE jobs SET version = ?2, lease_epoch = ?3, failures_in_row = ?4, state = ?5, done = ?6, "
    "last_sequence = ?7, create_time_ns = ?8, job = ?9 WHERE number = ?1";
constexpr char kDeleteJob[] = "DELETE FROM jobs WHERE number = ?1";
constexpr char kInsertSpecs[] = "INSERT INTO job_specs VALUES (?1, ?2)";
constexpr char kReadSpecs[] = "SELECT specs FROM job_specs WHERE job = ?1";
constexpr char kInsertLabel[] = "INSERT INTO job_labels VALUES (?1, ?2, ?3)";
constexpr char kInsertUse[] =
    "INSERT OR IGNORE INTO job_uses (kind, name, job) VALUES (?1, ?2, ?3)";
constexpr char kDeleteUses[] = "DELETE FROM job_uses WHERE job = ?1";
constexpr char kFindJobById[] = JOB_COLUMNS " AND id = ?1";
constexpr char kFindJobByNumber[] = JOB_COLUMNS " AND number = ?1";

// Terms of a filter that are not set are NULL. ?1 limit, ?2 to ?8 the filter, ?9 and ?10 the rank
// and number to go on after.
#define JOB_FILTER                                                             \
  " AND (?2 IS NULL OR done = ?2) AND (?3 IS NULL OR method = ?3)"             \
  " AND (?4 IS NULL OR base_model = ?4) AND (?5 IS NULL OR display_name = ?5)" \
  " AND (?6 IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(?6) AS want WHERE"  \
  " NOT EXISTS (SELECT 1 FROM job_labels WHERE job_labels.job = jobs.number"   \
  " AND job_labels.key = want.key AND job_labels.value = want.value)))"
#define AND_STATE " AND state = ?7"
#define AND_STUDY " AND study = ?8"
#define ANY_STATE " AND (?7 IS NULL OR state = ?7)"
#define ANY_STUDY " AND (?8 IS NULL OR study = ?8)"
#define NEWEST " AND number < ?10 ORDER BY number DESC LIMIT ?1"
#define OLDEST " AND number > ?10 ORDER BY number LIMIT ?1"
#define BY_RANK " AND (queue_rank, number) > (?9, ?10) ORDER BY queue_rank, number LIMIT ?1"

constexpr char kNewest[] = JOB_COLUMNS JOB_FILTER ANY_STATE ANY_STUDY NEWEST;
constexpr char kNewestOfState[] = JOB_COLUMNS JOB_FILTER AND_STATE ANY_STUDY NEWEST;
constexpr char kNewestOfStudy[] = JOB_COLUMNS JOB_FILTER ANY_STATE AND_STUDY NEWEST;
constexpr char kOldest[] = JOB_COLUMNS JOB_FILTER ANY_STATE ANY_STUDY OLDEST;
constexpr char kOldestOfState[] = JOB_COLUMNS JOB_FILTER AND_STATE ANY_STUDY OLDEST;
constexpr char kOldestOfStudy[] = JOB_COLUMNS JOB_FILTER ANY_STATE AND_STUDY OLDEST;
constexpr char kByRank[] = JOB_COLUMNS JOB_FILTER ANY_STATE ANY_STUDY BY_RANK;
// The number 1 (QUEUED) is written out so that the partial index jobs_queue serves it.
constexpr char kQueue[] = JOB_COLUMNS_FROM
    "INDEXED BY jobs_queue WHERE owner = 'default' AND state = 1" JOB_FILTER ANY_STUDY BY_RANK;
static_assert(v1::JOB_STATE_QUEUED == 1);

constexpr char kCountQueuedBefore[] =
    "SELECT COUNT(*) FROM jobs WHERE owner = 'default' AND state = 1 "
    "AND (queue_rank, number) < (?1, ?2)";
constexpr char kCountJobs[] =
    "SELECT COALESCE(SUM(jobs), 0) FROM job_counts WHERE owner = 'default' AND state = ?1";
constexpr char kFindUser[] =
    "SELECT jobs.id FROM job_uses JOIN jobs ON jobs.number = job_uses.job "
    "WHERE job_uses.owner = 'default' AND kind = ?1 AND name = ?2 LIMIT 1";
constexpr char kFindPublisher[] =
    "SELECT id FROM jobs WHERE owner = 'default' AND done = 0 AND output_kind = ?1 "
    "AND output_name = ?2 AND output_name IS NOT NULL";

int64_t Nanoseconds(const google::protobuf::Timestamp& time) {
  return absl::ToUnixNanos(FromTimestamp(time));
}

std::optional<JobRow> ReadJob(SqliteQuery& query) {
  if (!query.Next()) return std::nullopt;
  JobRow row;
  row.number = query.Int(0);
  row.version = query.Int(1);
  row.lease_epoch = query.Int(2);
  row.failures_in_row = static_cast<int32_t>(query.Int(3));
  row.method = query.Text(4);
  row.base_model = query.Text(5);
  if (!query.IsNull(7)) {
    row.output = {static_cast<ResourceKind>(query.Int(6)), query.Text(7)};
  }
  if (!query.Parse(8, row.job)) return std::nullopt;
  return row;
}

const char* ListStatement(const JobFilter& filter, JobOrder order) {
  switch (order) {
    case JobOrder::kNewestFirst:
      return filter.study ? kNewestOfStudy : filter.state ? kNewestOfState : kNewest;
    case JobOrder::kOldestFirst:
      return filter.study ? kOldestOfStudy : filter.state ? kOldestOfState : kOldest;
    case JobOrder::kPriority:
      return filter.state == v1::JOB_STATE_QUEUED ? kQueue : kByRank;
  }
  return kNewest;
}

JobKey BeforeAll(JobOrder order) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  return {std::numeric_limits<int32_t>::max(), order == JobOrder::kNewestFirst ? kMax : 0};
}

absl::StatusOr<int64_t> OneInteger(SqliteQuery& query) {
  const int64_t value = query.Next() ? query.Int(0) : 0;
  RETURN_IF_ERROR(query.status());
  return value;
}

absl::StatusOr<std::optional<std::string>> OneJobName(SqliteQuery& query) {
  std::optional<std::string> name;
  if (query.Next()) name = JobName(query.Text(0));
  RETURN_IF_ERROR(query.status());
  return name;
}

}  // namespace

absl::Status SqliteTables::InsertJob(JobRow& row, const v1::Job& specs,
                                     absl::Span<const ResourceRef> uses) {
  const v1::Job& job = row.job;
  std::optional<int64_t> output_kind;
  std::optional<std::string> output_name;
  if (row.output) output_kind = static_cast<int64_t>(row.output->kind);
  if (row.output) output_name = row.output->name;
  RETURN_IF_ERROR(database_.Run(kInsertJob, job.name().substr(sizeof(kJobPrefix) - 1), row.version,
                                row.lease_epoch, row.failures_in_row, job.state(), job.done(),
                                -int64_t{job.priority()}, job.study(), row.method, row.base_model,
                                job.display_name(), output_kind, output_name, job.last_sequence(),
                                Nanoseconds(job.create_time()), SqliteBlob(job)));
  row.number = database_.LastInsertId();
  RETURN_IF_ERROR(database_.Run(kInsertSpecs, row.number, SqliteBlob(specs)));
  for (const auto& [key, value] : job.labels()) {
    RETURN_IF_ERROR(database_.Run(kInsertLabel, row.number, key, value));
  }
  for (const ResourceRef& use : uses) {
    RETURN_IF_ERROR(database_.Run(kInsertUse, use.kind, use.name, row.number));
  }
  return absl::OkStatus();
}

absl::Status SqliteTables::UpdateJob(const JobRow& row) {
  const v1::Job& job = row.job;
  RETURN_IF_ERROR(database_.Run(kUpdateJob, row.number, row.version, row.lease_epoch,
                                row.failures_in_row, job.state(), job.done(), job.last_sequence(),
                                Nanoseconds(job.create_time()), SqliteBlob(job)));
  if (database_.ChangedRows() != 1) return absl::InternalError(absl::StrCat("no job ", row.number));
  return job.done() ? database_.Run(kDeleteUses, row.number) : absl::OkStatus();
}

absl::Status SqliteTables::DeleteJob(int64_t number) { return database_.Run(kDeleteJob, number); }

absl::StatusOr<std::optional<JobRow>> SqliteTables::FindJob(absl::string_view id) {
  SqliteQuery query(database_, kFindJobById, id);
  std::optional<JobRow> row = ReadJob(query);
  RETURN_IF_ERROR(query.status());
  return row;
}

absl::StatusOr<std::optional<JobRow>> SqliteTables::FindJob(int64_t number) {
  SqliteQuery query(database_, kFindJobByNumber, number);
  std::optional<JobRow> row = ReadJob(query);
  RETURN_IF_ERROR(query.status());
  return row;
}

absl::StatusOr<v1::Job> SqliteTables::ReadSpecs(int64_t number) {
  SqliteQuery query(database_, kReadSpecs, number);
  v1::Job specs;
  const bool found = query.Next() && query.Parse(0, specs);
  RETURN_IF_ERROR(query.status());
  if (!found) return absl::InternalError(absl::StrCat("job ", number, " has no specs"));
  return specs;
}

absl::StatusOr<std::vector<JobRow>> SqliteTables::ListJobs(const JobFilter& filter, JobOrder order,
                                                           const std::optional<JobKey>& after,
                                                           int limit) {
  std::optional<std::string> labels;
  if (!filter.labels.empty()) labels = nlohmann::json(filter.labels).dump();
  const JobKey key = after.value_or(BeforeAll(order));
  SqliteQuery query(database_, ListStatement(filter, order), limit, filter.done, filter.method,
                    filter.base_model, filter.display_name, labels, filter.state, filter.study,
                    -int64_t{key.priority}, key.number);
  std::vector<JobRow> rows;
  while (std::optional<JobRow> row = ReadJob(query)) rows.push_back(*std::move(row));
  RETURN_IF_ERROR(query.status());
  return rows;
}

absl::StatusOr<int64_t> SqliteTables::CountQueuedBefore(const JobKey& key) {
  SqliteQuery query(database_, kCountQueuedBefore, -int64_t{key.priority}, key.number);
  return OneInteger(query);
}

absl::StatusOr<int64_t> SqliteTables::CountJobs(v1::JobState state) {
  SqliteQuery query(database_, kCountJobs, state);
  return OneInteger(query);
}

absl::StatusOr<std::optional<std::string>> SqliteTables::FindUser(const ResourceRef& resource) {
  SqliteQuery query(database_, kFindUser, resource.kind, resource.name);
  return OneJobName(query);
}

absl::StatusOr<std::optional<std::string>> SqliteTables::FindPublisher(const ResourceRef& output) {
  SqliteQuery query(database_, kFindPublisher, output.kind, output.name);
  return OneJobName(query);
}

}  // namespace graft
