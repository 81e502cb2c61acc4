// Data sets, models, adapters, files, kept answers and counts. SqliteTables' other methods:
// sqlite_job_tables.cc, sqlite_log_tables.cc.

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

constexpr char kFindRequest[] =
    "SELECT body_sha256, answer, create_time_ns, running_time_ns FROM requests "
    "WHERE owner = 'default' AND verb = ?1 AND id = ?2";
constexpr char kPutRequest[] =
    "INSERT OR REPLACE INTO requests (verb, id, body_sha256, answer, create_time_ns, "
    "running_time_ns) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
constexpr char kDeleteRequests[] =
    "DELETE FROM requests WHERE (owner, verb, id) IN (SELECT owner, verb, id FROM requests "
    "INDEXED BY requests_by_running_time WHERE running_time_ns < ?1 "
    "ORDER BY running_time_ns LIMIT ?2)";

#define RESOURCE_COLUMNS                                          \
  "SELECT name, sha256, base_model, job, message FROM resources " \
  "WHERE owner = 'default' AND kind = ?1"
constexpr char kInsertResource[] =
    "INSERT INTO resources (kind, name, sha256, base_model, job, message) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
constexpr char kDeleteResource[] =
    "DELETE FROM resources WHERE owner = 'default' AND kind = ?1 AND name = ?2";
constexpr char kFindResource[] = RESOURCE_COLUMNS " AND name = ?2";
constexpr char kListResources[] = RESOURCE_COLUMNS
    " AND name > ?2 AND (?3 IS NULL OR base_model = ?3) AND (?4 IS NULL OR job = ?4) "
    "ORDER BY name LIMIT ?5";
constexpr char kCountResources[] =
    "SELECT COUNT(*) FROM resources WHERE owner = 'default' AND kind = ?1";

constexpr char kDeleteFiles[] =
    "DELETE FROM files WHERE owner = 'default' AND kind = ?1 AND holder = ?2";
constexpr char kInsertFile[] =
    "INSERT INTO files (kind, holder, position, path, size_bytes, sha256) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
constexpr char kListFiles[] =
    "SELECT path, size_bytes, sha256 FROM files "
    "WHERE owner = 'default' AND kind = ?1 AND holder = ?2 ORDER BY position";
constexpr char kHasBlob[] = "SELECT 1 FROM files WHERE sha256 = ?1 LIMIT 1";
constexpr char kListNamedBlobs[] =
    "SELECT sha256, size_bytes FROM files GROUP BY sha256, size_bytes ORDER BY sha256";
constexpr char kListNamers[] =
    "SELECT kind, holder, path FROM files WHERE sha256 = ?1 "
    "ORDER BY kind, holder, position LIMIT ?2";
constexpr char kListReleased[] = "SELECT sha256 FROM released_blobs ORDER BY sha256";
constexpr char kForgetReleased[] = "DELETE FROM released_blobs WHERE sha256 = ?1";

constexpr char kCountByStateAndMethod[] =
    "SELECT state, method, jobs, events FROM job_counts WHERE owner = 'default' AND jobs > 0 "
    "ORDER BY state, method";
constexpr char kOldestQueued[] =
    "SELECT queue_time_ns FROM jobs INDEXED BY jobs_by_queue_time "
    "WHERE owner = 'default' AND state = 1 ORDER BY queue_time_ns LIMIT 1";
constexpr char kCountMarkedEnds[] =
    "SELECT COUNT(*) FROM jobs INDEXED BY jobs_end_marked "
    "WHERE owner = 'default' AND end_marked = 1";
constexpr char kHeadQueued[] =
    "SELECT queue_time_ns FROM jobs INDEXED BY jobs_queue "
    "WHERE owner = 'default' AND state = 1 ORDER BY queue_rank, number LIMIT 1";

std::optional<ResourceRow> ReadResource(SqliteQuery& query, ResourceKind kind) {
  if (!query.Next()) return std::nullopt;
  ResourceRow row;
  row.ref.kind = kind;
  row.ref.name = query.Text(0);
  row.sha256 = query.Text(1);
  row.base_model = query.Text(2);
  row.job = query.Text(3);
  row.message = query.Text(4);
  return row;
}

}  // namespace

absl::StatusOr<std::optional<RequestRow>> SqliteTables::FindRequest(absl::string_view verb,
                                                                    absl::string_view id) {
  SqliteQuery query(database_, kFindRequest, verb, id);
  std::optional<RequestRow> row;
  if (query.Next()) {
    row = RequestRow{std::string(verb),
                     std::string(id),
                     query.Text(0),
                     query.Text(1),
                     absl::FromUnixNanos(query.Int(2)),
                     absl::Nanoseconds(query.Int(3))};
  }
  RETURN_IF_ERROR(query.status());
  return row;
}

absl::Status SqliteTables::PutRequest(const RequestRow& row) {
  return database_.Run(kPutRequest, row.verb, row.id, row.body_sha256, SqliteBlob(row.answer),
                       absl::ToUnixNanos(row.create_time),
                       absl::ToInt64Nanoseconds(row.running_time));
}

absl::StatusOr<int64_t> SqliteTables::DeleteRequestsBefore(absl::Duration running_time, int limit) {
  RETURN_IF_ERROR(database_.Run(kDeleteRequests, absl::ToInt64Nanoseconds(running_time), limit));
  return database_.ChangedRows();
}

absl::Status SqliteTables::InsertResource(const ResourceRow& row) {
  return database_.Run(kInsertResource, row.ref.kind, row.ref.name, row.sha256, row.base_model,
                       row.job, SqliteBlob(row.message));
}

absl::Status SqliteTables::DeleteResource(const ResourceRef& ref) {
  return database_.Run(kDeleteResource, ref.kind, ref.name);
}

absl::StatusOr<std::optional<ResourceRow>> SqliteTables::FindResource(const ResourceRef& ref) {
  SqliteQuery query(database_, kFindResource, ref.kind, ref.name);
  std::optional<ResourceRow> row = ReadResource(query, ref.kind);
  RETURN_IF_ERROR(query.status());
  return row;
}

absl::StatusOr<std::vector<ResourceRow>> SqliteTables::ListResources(ResourceKind kind,
                                                                     const AdapterFilter& filter,
                                                                     absl::string_view after,
                                                                     int limit) {
  SqliteQuery query(database_, kListResources, kind, after, filter.base_model, filter.job, limit);
  std::vector<ResourceRow> rows;
  while (std::optional<ResourceRow> row = ReadResource(query, kind)) {
    rows.push_back(*std::move(row));
  }
  RETURN_IF_ERROR(query.status());
  return rows;
}

absl::StatusOr<int64_t> SqliteTables::CountResources(ResourceKind kind) {
  SqliteQuery query(database_, kCountResources, kind);
  const int64_t count = query.Next() ? query.Int(0) : 0;
  RETURN_IF_ERROR(query.status());
  return count;
}

absl::Status SqliteTables::PutFiles(HolderKind kind, absl::string_view holder,
                                    absl::Span<const v1::Artifact> files) {
  RETURN_IF_ERROR(database_.Run(kDeleteFiles, kind, holder));
  int64_t position = 0;
  for (const v1::Artifact& file : files) {
    RETURN_IF_ERROR(database_.Run(kInsertFile, kind, holder, position++, file.path(),
                                  file.size_bytes(), file.sha256()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::Artifact>> SqliteTables::ListFiles(HolderKind kind,
                                                                  absl::string_view holder) {
  SqliteQuery query(database_, kListFiles, kind, holder);
  std::vector<v1::Artifact> files;
  while (query.Next()) {
    v1::Artifact& file = files.emplace_back();
    file.set_path(query.Text(0));
    file.set_size_bytes(query.Int(1));
    file.set_sha256(query.Text(2));
  }
  RETURN_IF_ERROR(query.status());
  return files;
}

absl::StatusOr<bool> SqliteTables::HasBlob(absl::string_view sha256) {
  SqliteQuery query(database_, kHasBlob, sha256);
  const bool found = query.Next();
  RETURN_IF_ERROR(query.status());
  return found;
}

absl::StatusOr<std::vector<NamedBlob>> SqliteTables::ListNamedBlobs() {
  SqliteQuery query(database_, kListNamedBlobs);
  std::vector<NamedBlob> blobs;
  while (query.Next()) blobs.push_back({query.Text(0), query.Int(1)});
  RETURN_IF_ERROR(query.status());
  return blobs;
}

absl::StatusOr<std::vector<Tables::Namer>> SqliteTables::ListNamers(absl::string_view sha256,
                                                                    int limit) {
  SqliteQuery query(database_, kListNamers, sha256, limit);
  std::vector<Namer> namers;
  while (query.Next()) {
    namers.push_back({static_cast<HolderKind>(query.Int(0)), query.Text(1), query.Text(2)});
  }
  RETURN_IF_ERROR(query.status());
  return namers;
}

absl::StatusOr<std::vector<std::string>> SqliteTables::ListReleasedBlobs() {
  SqliteQuery query(database_, kListReleased);
  std::vector<std::string> blobs;
  while (query.Next()) blobs.push_back(query.Text(0));
  RETURN_IF_ERROR(query.status());
  return blobs;
}

absl::Status SqliteTables::ForgetReleasedBlob(absl::string_view sha256) {
  return database_.Run(kForgetReleased, sha256);
}

absl::StatusOr<StoreCounts> SqliteTables::Counts() {
  StoreCounts counts;
  SqliteQuery jobs(database_, kCountByStateAndMethod);
  while (jobs.Next()) {
    counts.jobs.push_back({static_cast<v1::JobState>(jobs.Int(0)), jobs.Text(1), jobs.Int(2)});
    counts.events += jobs.Int(3);
  }
  RETURN_IF_ERROR(jobs.status());
  SqliteQuery oldest(database_, kOldestQueued);
  if (oldest.Next()) counts.oldest_queued = absl::FromUnixNanos(oldest.Int(0));
  RETURN_IF_ERROR(oldest.status());
  SqliteQuery head(database_, kHeadQueued);
  if (head.Next()) counts.head_queued = absl::FromUnixNanos(head.Int(0));
  RETURN_IF_ERROR(head.status());
  SqliteQuery marked(database_, kCountMarkedEnds);
  if (marked.Next()) counts.marked_ends = marked.Int(0);
  RETURN_IF_ERROR(marked.status());
  ASSIGN_OR_RETURN(counts.datasets, CountResources(ResourceKind::kDataset));
  ASSIGN_OR_RETURN(counts.models, CountResources(ResourceKind::kModel));
  ASSIGN_OR_RETURN(counts.adapters, CountResources(ResourceKind::kAdapter));
  return counts;
}

}  // namespace graft
