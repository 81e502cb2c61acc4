// What the store is, its running time, and the blobs that nothing names. SqliteTables' other
// methods: sqlite_job_tables.cc, sqlite_log_tables.cc, sqlite_catalogue_tables.cc.

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

constexpr char kReadIdentity[] = "SELECT id, running_time_ns FROM store_identity";
constexpr char kUpdateRunningTime[] =
    "UPDATE store_identity SET running_time_ns = MAX(running_time_ns, ?1)";
constexpr char kPutUnnamed[] =
    "INSERT OR REPLACE INTO unnamed_blobs (sha256, since_ns, stamp) VALUES (?1, ?2, ?3)";
constexpr char kListUnnamed[] = "SELECT sha256, since_ns, stamp FROM unnamed_blobs ORDER BY sha256";
constexpr char kDeleteUnnamed[] = "DELETE FROM unnamed_blobs WHERE sha256 = ?1";

}  // namespace

absl::StatusOr<IdentityRow> SqliteTables::ReadIdentity() {
  SqliteQuery query(database_, kReadIdentity);
  IdentityRow row;
  if (query.Next()) row = {query.Text(0), absl::Nanoseconds(query.Int(1))};
  RETURN_IF_ERROR(query.status());
  if (row.id.empty()) return absl::DataLossError("the store has lost the row with its id");
  return row;
}

absl::Status SqliteTables::UpdateRunningTime(absl::Duration running_time) {
  return database_.Run(kUpdateRunningTime, absl::ToInt64Nanoseconds(running_time));
}

absl::Status SqliteTables::PutUnnamedBlob(const UnnamedBlobRow& row) {
  return database_.Run(kPutUnnamed, row.sha256, absl::ToInt64Nanoseconds(row.since), row.stamp);
}

absl::StatusOr<std::vector<UnnamedBlobRow>> SqliteTables::ListUnnamedBlobs() {
  SqliteQuery query(database_, kListUnnamed);
  std::vector<UnnamedBlobRow> rows;
  while (query.Next()) {
    rows.push_back({query.Text(0), absl::Nanoseconds(query.Int(1)), query.Int(2)});
  }
  RETURN_IF_ERROR(query.status());
  return rows;
}

absl::Status SqliteTables::DeleteUnnamedBlob(absl::string_view sha256) {
  return database_.Run(kDeleteUnnamed, sha256);
}

}  // namespace graft
