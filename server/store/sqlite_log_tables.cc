// Events, attempts, leases and checkpoints. SqliteTables' other methods: sqlite_job_tables.cc,
// sqlite_catalogue_tables.cc.

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

constexpr char kInsertEvent[] = "INSERT INTO events VALUES (?1, ?2, ?3)";
constexpr char kReadEvents[] =
    "SELECT event FROM events WHERE job = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3";
constexpr char kFindLogged[] =
    "SELECT metrics FROM logged_steps WHERE job = ?1 AND kind = ?2 AND step = ?3";
constexpr char kPutLogged[] = "INSERT OR REPLACE INTO logged_steps VALUES (?1, ?2, ?3, ?4)";
constexpr char kForgetLogged[] =
    "DELETE FROM logged_steps WHERE job = ?1 AND kind = ?2 AND step > ?3";

#define ATTEMPT_COLUMNS                                                                      \
  "SELECT job, lease_epoch, worker, instance, last_batch, end_reported, difference_logged, " \
  "attempt, progressed "                                                                     \
  "FROM attempts WHERE job = ?1"
constexpr char kPutAttempt[] =
    "INSERT OR REPLACE INTO attempts (job, number, lease_epoch, worker, instance, last_batch, "
    "end_reported, difference_logged, attempt, progressed) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
constexpr char kFindAttempt[] = ATTEMPT_COLUMNS " AND number = ?2";
constexpr char kListAttempts[] = ATTEMPT_COLUMNS " ORDER BY number";

#define LEASE_COLUMNS \
  "SELECT job, rank, attempt, lease_epoch, worker, instance, request_id FROM leases"
constexpr char kInsertLease[] =
    "INSERT INTO leases (job, rank, attempt, lease_epoch, worker, instance, request_id) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
constexpr char kDeleteLease[] = "DELETE FROM leases WHERE job = ?1";
constexpr char kFindLease[] = LEASE_COLUMNS " WHERE job = ?1";
constexpr char kListLeases[] = LEASE_COLUMNS " ORDER BY job";

constexpr char kListCheckpoints[] =
    "SELECT step, attempt, needs, kept_since_ns, pinned, create_time_ns FROM checkpoints "
    "WHERE job = ?1 "
    "ORDER BY step DESC";
constexpr char kPutCheckpoint[] =
    "INSERT OR REPLACE INTO checkpoints VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
constexpr char kListKept[] =
    "SELECT job, step FROM checkpoints INDEXED BY checkpoints_kept WHERE kept_since_ns < ?1 "
    "ORDER BY kept_since_ns LIMIT ?2";
constexpr char kDeleteCheckpoint[] = "DELETE FROM checkpoints WHERE job = ?1 AND step = ?2";

std::optional<AttemptRow> ReadAttempt(SqliteQuery& query) {
  if (!query.Next()) return std::nullopt;
  AttemptRow row;
  row.job = query.Int(0);
  row.lease_epoch = query.Int(1);
  row.worker = {query.Text(2), query.Text(3)};
  row.last_batch = query.Int(4);
  row.end_reported = query.Int(5) != 0;
  row.difference_logged = query.Int(6) != 0;
  if (!query.Parse(7, row.attempt)) return std::nullopt;
  row.progressed = query.Int(8) != 0;
  return row;
}

std::optional<LeaseRow> ReadLease(SqliteQuery& query) {
  if (!query.Next()) return std::nullopt;
  LeaseRow row;
  row.job = query.Int(0);
  row.rank = static_cast<int32_t>(query.Int(1));
  row.attempt = static_cast<int32_t>(query.Int(2));
  row.lease_epoch = query.Int(3);
  row.worker = {query.Text(4), query.Text(5)};
  row.request_id = query.Text(6);
  return row;
}

}  // namespace

absl::Status SqliteTables::AppendEvent(int64_t job, const v1::JobEvent& event) {
  return database_.Run(kInsertEvent, job, event.sequence(), SqliteBlob(event));
}

absl::StatusOr<std::vector<v1::JobEvent>> SqliteTables::ReadEvents(int64_t job, int64_t after,
                                                                   int limit, int64_t max_bytes) {
  SqliteQuery query(database_, kReadEvents, job, after, limit);
  std::vector<v1::JobEvent> events;
  int64_t bytes = 0;
  while (bytes < max_bytes && query.Next()) {
    v1::JobEvent event;
    if (!query.Parse(0, event)) break;
    bytes += event.ByteSizeLong();
    events.push_back(std::move(event));
  }
  RETURN_IF_ERROR(query.status());
  return events;
}

absl::StatusOr<std::optional<v1::Metrics>> SqliteTables::FindLogged(int64_t job, LoggedKind kind,
                                                                    int64_t step) {
  SqliteQuery query(database_, kFindLogged, job, kind, step);
  std::optional<v1::Metrics> metrics;
  if (query.Next()) query.Parse(0, metrics.emplace());
  RETURN_IF_ERROR(query.status());
  return metrics;
}

absl::Status SqliteTables::PutLogged(int64_t job, LoggedKind kind, const v1::Metrics& metrics) {
  return database_.Run(kPutLogged, job, kind, metrics.step(), SqliteBlob(metrics));
}

absl::Status SqliteTables::ForgetLogged(int64_t job, LoggedKind kind, int64_t step) {
  return database_.Run(kForgetLogged, job, kind, step);
}

absl::Status SqliteTables::PutAttempt(const AttemptRow& row) {
  return database_.Run(kPutAttempt, row.job, row.attempt.number(), row.lease_epoch, row.worker.id,
                       row.worker.instance, row.last_batch, row.end_reported, row.difference_logged,
                       SqliteBlob(row.attempt), row.progressed);
}

absl::StatusOr<std::optional<AttemptRow>> SqliteTables::FindAttempt(int64_t job, int32_t number) {
  SqliteQuery query(database_, kFindAttempt, job, number);
  std::optional<AttemptRow> row = ReadAttempt(query);
  RETURN_IF_ERROR(query.status());
  return row;
}

absl::StatusOr<std::vector<AttemptRow>> SqliteTables::ListAttempts(int64_t job) {
  SqliteQuery query(database_, kListAttempts, job);
  std::vector<AttemptRow> rows;
  while (std::optional<AttemptRow> row = ReadAttempt(query)) rows.push_back(*std::move(row));
  RETURN_IF_ERROR(query.status());
  return rows;
}

absl::Status SqliteTables::InsertLease(const LeaseRow& row) {
  return database_.Run(kInsertLease, row.job, row.rank, row.attempt, row.lease_epoch, row.worker.id,
                       row.worker.instance, row.request_id);
}

absl::Status SqliteTables::DeleteLease(int64_t job) { return database_.Run(kDeleteLease, job); }

absl::StatusOr<std::optional<LeaseRow>> SqliteTables::FindLease(int64_t job) {
  SqliteQuery query(database_, kFindLease, job);
  std::optional<LeaseRow> row = ReadLease(query);
  RETURN_IF_ERROR(query.status());
  return row;
}

absl::StatusOr<std::vector<LeaseRow>> SqliteTables::ListLeases() {
  SqliteQuery query(database_, kListLeases);
  std::vector<LeaseRow> rows;
  while (std::optional<LeaseRow> row = ReadLease(query)) rows.push_back(*std::move(row));
  RETURN_IF_ERROR(query.status());
  return rows;
}

absl::StatusOr<std::vector<CheckpointRow>> SqliteTables::ListCheckpoints(int64_t job) {
  SqliteQuery query(database_, kListCheckpoints, job);
  std::vector<CheckpointRow> rows;
  while (query.Next()) {
    CheckpointRow& row = rows.emplace_back();
    row.step = query.Int(0);
    row.attempt = static_cast<int32_t>(query.Int(1));
    row.needs = NeedsFromColumn(query.Text(2));
    if (!query.IsNull(3)) row.kept_since = absl::Nanoseconds(query.Int(3));
    row.pinned = query.Int(4) != 0;
    if (!query.IsNull(5)) row.create_time = absl::FromUnixNanos(query.Int(5));
  }
  RETURN_IF_ERROR(query.status());
  return rows;
}

absl::Status SqliteTables::PutCheckpoint(int64_t job, const CheckpointRow& row) {
  std::optional<int64_t> kept_since;
  if (row.kept_since) kept_since = absl::ToInt64Nanoseconds(*row.kept_since);
  std::optional<int64_t> create_time;
  if (row.create_time) create_time = absl::ToUnixNanos(*row.create_time);
  return database_.Run(kPutCheckpoint, job, row.step, row.attempt, ToColumn(row.needs), kept_since,
                       row.pinned, create_time);
}

absl::StatusOr<std::vector<Tables::CheckpointKey>> SqliteTables::ListKeptBefore(
    absl::Duration running_time, int limit) {
  SqliteQuery query(database_, kListKept, absl::ToInt64Nanoseconds(running_time), limit);
  std::vector<CheckpointKey> keys;
  while (query.Next()) keys.push_back({query.Int(0), query.Int(1)});
  RETURN_IF_ERROR(query.status());
  return keys;
}

absl::Status SqliteTables::DeleteCheckpoint(int64_t job, int64_t step) {
  return database_.Run(kDeleteCheckpoint, job, step);
}

}  // namespace graft
