// Jobs and what goes with them one to one. SqliteTables' other methods: sqlite_end_tables.cc,
// sqlite_log_tables.cc (what jobs leave behind) and sqlite_catalogue_tables.cc.

#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "nlohmann/json.hpp"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

#define JOB_COLUMNS                                                                         \
  "SELECT number, version, lease_epoch, failures_in_row, method, base_model, output_kind, " \
  "output_name, jobs.job, needs, failure_place, failure_cause, failure_ran_ms, "            \
  "failures_alike, evaluated_step, evaluated_rows, saved_step, done_since_ns, end_marked"
#define FIND_JOB JOB_COLUMNS " FROM jobs WHERE owner = 'default'"

constexpr char kInsertJob[] =
    "INSERT INTO jobs (id, version, lease_epoch, failures_in_row, state, done, queue_rank, study, "
    "method, base_model, display_name, output_kind, output_name, last_sequence, queue_time_ns, "
    "job, needs, saved_step, deadline_ns, create_time_ns) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, "
    "?19, ?20)";
constexpr char kUpdateJob[] =
    "UPDATE jobs SET version = ?2, lease_epoch = ?3, failures_in_row = ?4, state = ?5, done = ?6, "
    "last_sequence = ?7, queue_time_ns = ?8, job = ?9, needs = ?10, failure_place = ?11, "
    "failure_cause = ?12, failure_ran_ms = ?13, failures_alike = ?14, evaluated_step = ?15, "
    "evaluated_rows = ?16, saved_step = ?17 WHERE number = ?1";
constexpr char kUpdateKeys[] =
    "UPDATE jobs SET queue_rank = ?2, display_name = ?3, deadline_ns = ?4 WHERE number = ?1";
constexpr char kEndJob[] =
    "UPDATE jobs SET end_time_ns = ?2, done_since_ns = ?3, end_marked = ?4 WHERE number = ?1";
constexpr char kDeleteLabels[] = "DELETE FROM job_labels WHERE job = ?1";
constexpr char kDeleteJob[] = "UPDATE jobs SET owner = 'deleted' WHERE number = ?1";
constexpr char kFindDeleted[] =
    "SELECT number FROM jobs INDEXED BY jobs_by_number WHERE owner = 'deleted' LIMIT 1";
constexpr char kPurgeEvents[] =
    "DELETE FROM events WHERE job = ?1 AND sequence IN "
    "(SELECT sequence FROM events WHERE job = ?1 ORDER BY sequence LIMIT ?2)";
constexpr char kPurgeLogged[] =
    "DELETE FROM logged_steps WHERE job = ?1 AND (kind, step) IN "
    "(SELECT kind, step FROM logged_steps WHERE job = ?1 LIMIT ?2)";
constexpr char kPurgeJob[] = "DELETE FROM jobs WHERE number = ?1";
constexpr char kInsertSpecs[] = "INSERT INTO job_specs VALUES (?1, ?2)";
constexpr char kReadSpecs[] = "SELECT specs FROM job_specs WHERE job = ?1";
constexpr char kInsertLabel[] = "INSERT INTO job_labels VALUES (?1, ?2, ?3)";
constexpr char kInsertUse[] =
    "INSERT OR IGNORE INTO job_uses (kind, name, job) VALUES (?1, ?2, ?3)";
constexpr char kDeleteUses[] = "DELETE FROM job_uses WHERE job = ?1";
constexpr char kFindJobById[] = FIND_JOB " AND id = ?1";
constexpr char kFindJobByNumber[] = FIND_JOB " AND number = ?1";

// Terms of a filter that are not set are NULL. ?2 to ?8 the filter, ?1 and ?11 key and value of one
// of its labels, ?9 and ?10 the rank and number to go on after, ?12 the limit, ?13 to ?16 when the
// jobs were created and ended: from then on and before then.
#define JOB_FILTER                                                             \
  " AND (?2 IS NULL OR done = ?2) AND (?3 IS NULL OR method = ?3)"             \
  " AND (?4 IS NULL OR base_model = ?4) AND (?5 IS NULL OR display_name = ?5)" \
  " AND (?6 IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(?6) AS want WHERE"  \
  " NOT EXISTS (SELECT 1 FROM job_labels WHERE job_labels.job = jobs.number"   \
  " AND job_labels.key = want.key AND job_labels.value = want.value)))"        \
  " AND (?7 IS NULL OR state = ?7) AND (?8 IS NULL OR study = ?8)"             \
  " AND (?13 IS NULL OR create_time_ns >= ?13)"                                \
  " AND (?14 IS NULL OR create_time_ns < ?14)"                                 \
  " AND (?15 IS NULL OR end_time_ns >= ?15) AND (?16 IS NULL OR end_time_ns < ?16)"

// The term that an index serves: the one of those given that selects fewest jobs, as a rule.
enum class Driver {
  kStudy,
  kLabel,
  kDisplayName,
  kQueued,
  kNotDone,
  kState,
  kModel,
  kMethod,
  kTime,
  kNone
};

// SQLite sees no index behind "?n IS NULL OR", and not that a number of its own is a parameter's:
// the driving term stands once more, by itself.
const char* DrivingTerm(Driver driver) {
  switch (driver) {
    case Driver::kStudy:
      return " AND study = ?8";
    case Driver::kLabel:
      return " AND labelled.key = ?1 AND labelled.value = ?11";
    case Driver::kDisplayName:
      return " AND display_name = ?5 AND display_name <> ''";
    case Driver::kQueued:
      return " AND state = 1";
    case Driver::kNotDone:
      return " AND done = 0";
    case Driver::kState:
      return " AND state = ?7";
    case Driver::kModel:
      return " AND base_model = ?4";
    case Driver::kMethod:
      return " AND method = ?3";
    case Driver::kTime:
    case Driver::kNone:
      return "";
  }
  return "";
}
static_assert(v1::JOB_STATE_QUEUED == 1);

// Without the name SQLite may walk all jobs in the order asked for instead of sorting a few.
const char* IndexOf(Driver driver, JobOrder order) {
  switch (driver) {
    case Driver::kStudy:
      return "INDEXED BY jobs_by_study ";
    case Driver::kLabel:
      return "";
    case Driver::kDisplayName:
      return "INDEXED BY jobs_by_display_name ";
    case Driver::kQueued:
      return order == JobOrder::kPriority ? "INDEXED BY jobs_queue " : "INDEXED BY jobs_by_state ";
    case Driver::kNotDone:
      return "INDEXED BY jobs_not_done ";
    case Driver::kState:
      return "INDEXED BY jobs_by_state ";
    case Driver::kModel:
      return "INDEXED BY jobs_by_base_model ";
    case Driver::kMethod:
      return "INDEXED BY jobs_by_method ";
    case Driver::kTime:
      return order == JobOrder::kPriority ? "INDEXED BY jobs_by_rank "
                                          : "INDEXED BY jobs_by_times ";
    case Driver::kNone:
      return order == JobOrder::kPriority ? "INDEXED BY jobs_by_rank "
                                          : "INDEXED BY jobs_by_number ";
  }
  return "";
}

Driver DriverOf(const JobFilter& filter) {
  if (filter.study) return Driver::kStudy;
  if (!filter.labels.empty()) return Driver::kLabel;
  if (filter.display_name && !filter.display_name->empty()) return Driver::kDisplayName;
  if (filter.state == v1::JOB_STATE_QUEUED) return Driver::kQueued;
  if (filter.done == false) return Driver::kNotDone;
  if (filter.state) return Driver::kState;
  if (filter.base_model) return Driver::kModel;
  if (filter.method) return Driver::kMethod;
  if (filter.create_time || filter.end_time) return Driver::kTime;
  return Driver::kNone;
}

// The table that the jobs' numbers come from: the left one of a CROSS JOIN is the outer loop.
constexpr char kLabelled[] =
    " FROM job_labels AS labelled INDEXED BY job_labels_by_value "
    "CROSS JOIN jobs ON jobs.number = labelled.job ";

std::string ListSql(Driver driver, JobOrder order) {
  const bool labelled = driver == Driver::kLabel;
  // The same, but in the column of the index that is walked.
  const char* number = labelled ? "labelled.job" : "number";
  std::string rest;
  switch (order) {
    case JobOrder::kNewestFirst:
      rest = absl::StrCat(" AND ", number, " < ?10 ORDER BY ", number, " DESC LIMIT ?12");
      break;
    case JobOrder::kOldestFirst:
      rest = absl::StrCat(" AND ", number, " > ?10 ORDER BY ", number, " LIMIT ?12");
      break;
    case JobOrder::kPriority:
      rest = " AND (queue_rank, number) > (?9, ?10) ORDER BY queue_rank, number LIMIT ?12";
      break;
  }
  const std::string from =
      labelled ? kLabelled : absl::StrCat(" FROM jobs ", IndexOf(driver, order));
  return absl::StrCat(JOB_COLUMNS, from, "WHERE owner = 'default'", DrivingTerm(driver), JOB_FILTER,
                      rest);
}

// Statements are kept by their address: each text is made once.
const char* ListStatement(Driver driver, JobOrder order) {
  using Statements = std::map<std::pair<Driver, JobOrder>, std::string>;
  static const Statements* const statements = [] {
    auto* all = new Statements;
    for (int i = 0; i <= static_cast<int>(Driver::kNone); ++i) {
      for (const JobOrder each :
           {JobOrder::kNewestFirst, JobOrder::kOldestFirst, JobOrder::kPriority}) {
        const auto one = static_cast<Driver>(i);
        all->emplace(std::pair(one, each), ListSql(one, each));
      }
    }
    return all;
  }();
  return statements->at({driver, order}).c_str();
}

#define QUEUE_ORDER " AND (queue_rank, number) > (?1, ?2) ORDER BY queue_rank, number LIMIT ?3"
constexpr char kListQueue[] = JOB_COLUMNS
    " FROM jobs INDEXED BY jobs_queue WHERE owner = 'default' AND state = 1" QUEUE_ORDER;
constexpr char kListQueueByNeeds[] = JOB_COLUMNS
    " FROM jobs INDEXED BY jobs_queue_by_needs "
    "WHERE owner = 'default' AND state = 1 AND needs = ?4" QUEUE_ORDER;
// One search for each that there is, whatever the number of jobs.
constexpr char kListQueuedNeeds[] =
    "WITH RECURSIVE each (needs) AS ("
    "SELECT MIN(needs) FROM jobs INDEXED BY jobs_queue_by_needs "
    "WHERE owner = 'default' AND state = 1 "
    "UNION ALL SELECT (SELECT MIN(jobs.needs) FROM jobs INDEXED BY jobs_queue_by_needs "
    "WHERE owner = 'default' AND state = 1 AND jobs.needs > each.needs) "
    "FROM each WHERE each.needs IS NOT NULL) "
    "SELECT needs FROM each WHERE needs IS NOT NULL";
constexpr char kCountQueuedBefore[] =
    "SELECT (SELECT COALESCE(SUM(jobs), 0) FROM queue_sizes WHERE owner = 'default' "
    "AND (queue_rank, block) < (?1, ?2 >> 8)) "
    "+ (SELECT COUNT(*) FROM jobs INDEXED BY jobs_queue WHERE owner = 'default' AND state = 1 "
    "AND queue_rank = ?1 AND number >= (?2 >> 8) << 8 AND number < ?2)";
constexpr char kCountJobs[] =
    "SELECT COALESCE(SUM(jobs), 0) FROM job_counts WHERE owner = 'default' AND state = ?1";
constexpr char kFindUser[] =
    "SELECT jobs.id FROM job_uses JOIN jobs ON jobs.number = job_uses.job "
    "WHERE job_uses.owner = 'default' AND kind = ?1 AND name = ?2 LIMIT 1";
constexpr char kFindPublisher[] =
    "SELECT id FROM jobs WHERE owner = 'default' AND done = 0 AND output_kind = ?1 "
    "AND output_name = ?2 AND output_name IS NOT NULL";

int64_t Nanos(const google::protobuf::Timestamp& time) {
  return absl::ToUnixNanos(FromTimestamp(time));
}

std::optional<int64_t> DeadlineColumn(const v1::Job& job) {
  if (!job.has_deadline()) return std::nullopt;
  return Nanos(job.deadline());
}

// Both bounds of a term, if there is one.
using TimeColumns = std::pair<std::optional<int64_t>, std::optional<int64_t>>;
TimeColumns Bounds(const std::optional<TimeRange>& range) {
  if (!range) return {};
  return {absl::ToUnixNanos(range->from), absl::ToUnixNanos(range->before)};
}

// Jobs of an older graft have only their creation's.
int64_t QueueTime(const v1::Job& job) {
  return Nanos(job.has_queue_time() ? job.queue_time() : job.create_time());
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
  row.needs = NeedsFromColumn(query.Text(9));
  row.failure_place = query.Text(10);
  row.failure_cause = query.Text(11);
  row.failure_ran = absl::Milliseconds(query.Int(12));
  row.failures_alike = static_cast<int32_t>(query.Int(13));
  row.evaluated_step = query.Int(14);
  row.evaluated_rows = query.Int(15);
  row.saved_step = query.Int(16);
  if (!query.IsNull(17)) row.done_since = absl::Nanoseconds(query.Int(17));
  row.end_marked = query.Int(18) != 0;
  return row;
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
                                QueueTime(job), SqliteBlob(job), ToColumn(row.needs),
                                row.saved_step, DeadlineColumn(job), Nanos(job.create_time())));
  row.number = database_.LastInsertId();
  RETURN_IF_ERROR(database_.Run(kInsertSpecs, row.number, SqliteBlob(specs)));
  RETURN_IF_ERROR(InsertLabels(row));
  for (const ResourceRef& use : uses) {
    RETURN_IF_ERROR(database_.Run(kInsertUse, use.kind, use.name, row.number));
  }
  return absl::OkStatus();
}

absl::Status SqliteTables::UpdateJob(const JobRow& row) {
  const v1::Job& job = row.job;
  RETURN_IF_ERROR(database_.Run(
      kUpdateJob, row.number, row.version, row.lease_epoch, row.failures_in_row, job.state(),
      job.done(), job.last_sequence(), QueueTime(job), SqliteBlob(job), ToColumn(row.needs),
      row.failure_place, row.failure_cause, absl::ToInt64Milliseconds(row.failure_ran),
      row.failures_alike, row.evaluated_step, row.evaluated_rows, row.saved_step));
  if (database_.ChangedRows() != 1) return absl::InternalError(absl::StrCat("no job ", row.number));
  if (!job.done()) return absl::OkStatus();
  std::optional<int64_t> done_since;
  if (row.done_since) done_since = absl::ToInt64Nanoseconds(*row.done_since);
  RETURN_IF_ERROR(
      database_.Run(kEndJob, row.number, Nanos(job.end_time()), done_since, row.end_marked));
  return database_.Run(kDeleteUses, row.number);
}

absl::Status SqliteTables::InsertLabels(const JobRow& row) {
  for (const auto& [key, value] : row.job.labels()) {
    RETURN_IF_ERROR(database_.Run(kInsertLabel, row.number, key, value));
  }
  return absl::OkStatus();
}

absl::Status SqliteTables::UpdateJobKeys(const JobRow& row) {
  RETURN_IF_ERROR(database_.Run(kUpdateKeys, row.number, -int64_t{row.job.priority()},
                                row.job.display_name(), DeadlineColumn(row.job)));
  RETURN_IF_ERROR(database_.Run(kDeleteLabels, row.number));
  return InsertLabels(row);
}

absl::Status SqliteTables::DeleteJob(int64_t number) { return database_.Run(kDeleteJob, number); }

absl::StatusOr<bool> SqliteTables::PurgeDeleted(int rows) {
  SqliteQuery query(database_, kFindDeleted);
  const bool found = query.Next();
  RETURN_IF_ERROR(query.status());
  if (!found) return false;
  const int64_t number = query.Int(0);
  for (const char* purge : {kPurgeEvents, kPurgeLogged}) {
    RETURN_IF_ERROR(database_.Run(purge, number, rows));
    if (database_.ChangedRows() == rows) return true;
  }
  // The few rows that are left go with it.
  RETURN_IF_ERROR(database_.Run(kPurgeJob, number));
  return true;
}

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
  std::optional<std::string> label, value;
  if (!filter.labels.empty()) std::tie(label, value) = *filter.labels.begin();
  const TimeColumns created = Bounds(filter.create_time);
  const TimeColumns ended = Bounds(filter.end_time);
  SqliteQuery query(database_, ListStatement(DriverOf(filter), order), label, filter.done,
                    filter.method, filter.base_model, filter.display_name, labels, filter.state,
                    filter.study, -int64_t{key.priority}, key.number, value, limit, created.first,
                    created.second, ended.first, ended.second);
  std::vector<JobRow> rows;
  while (std::optional<JobRow> row = ReadJob(query)) rows.push_back(*std::move(row));
  RETURN_IF_ERROR(query.status());
  return rows;
}

absl::StatusOr<std::vector<JobNeeds>> SqliteTables::ListQueuedNeeds() {
  SqliteQuery query(database_, kListQueuedNeeds);
  std::vector<JobNeeds> needs;
  while (query.Next()) needs.push_back(NeedsFromColumn(query.Text(0)));
  RETURN_IF_ERROR(query.status());
  return needs;
}

absl::StatusOr<std::vector<JobRow>> SqliteTables::ListQueue(const std::optional<JobNeeds>& needs,
                                                            const std::optional<JobKey>& after,
                                                            int limit) {
  const JobKey key = after.value_or(BeforeAll(JobOrder::kPriority));
  std::vector<JobRow> rows;
  const auto read = [&](SqliteQuery& query) {
    while (std::optional<JobRow> row = ReadJob(query)) rows.push_back(*std::move(row));
    return query.status();
  };
  if (needs) {
    SqliteQuery query(database_, kListQueueByNeeds, -int64_t{key.priority}, key.number, limit,
                      ToColumn(*needs));
    RETURN_IF_ERROR(read(query));
  } else {
    SqliteQuery query(database_, kListQueue, -int64_t{key.priority}, key.number, limit);
    RETURN_IF_ERROR(read(query));
  }
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
