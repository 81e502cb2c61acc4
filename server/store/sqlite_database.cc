#include "server/store/sqlite_database.h"

#include <sqlite3.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path,
                                                                     int flags, const char* vfs) {
  // Counting its bytes would take a lock of the whole process for each of its allocations.
  [[maybe_unused]] static const int once = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(path));
  const int code = sqlite3_open_v2(path.c_str(), &database->handle_, flags, vfs);
  if (database->handle_ == nullptr) return absl::ResourceExhaustedError("SQLite has no memory");
  sqlite3_extended_result_codes(database->handle_, 1);
  if (code != SQLITE_OK) return database->Error("open");
  return database;
}

SqliteDatabase::~SqliteDatabase() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

absl::Status SqliteDatabase::Execute(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return Error("run a statement");
}

bool SqliteDatabase::InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }
int64_t SqliteDatabase::TotalChanges() const { return sqlite3_total_changes64(handle_); }
int64_t SqliteDatabase::ChangedRows() const { return sqlite3_changes64(handle_); }
int64_t SqliteDatabase::LastInsertId() const { return sqlite3_last_insert_rowid(handle_); }

absl::Status SqliteDatabase::Error(absl::string_view action) const {
  const int code = sqlite3_extended_errcode(handle_);
  const int system_error = sqlite3_system_errno(handle_);
  const std::string message =
      absl::StrCat("cannot ", action, " in ", path_, ": ", sqlite3_errmsg(handle_));
  switch (code) {
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
      return ReportFailedSync(system_error, path_);
    case SQLITE_IOERR_CORRUPTFS:
      return absl::DataLossError(message);
    default:
      break;
  }
  switch (code & 0xff) {
    case SQLITE_FULL:
      return DiskFull(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<sqlite3_stmt*> SqliteDatabase::Prepare(const char* sql) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement != nullptr) return statement;
  if (sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) !=
      SQLITE_OK) {
    return Error("prepare a statement");
  }
  return statement;
}

SqliteQuery::SqliteQuery(SqliteDatabase& database, const char* sql, std::nullptr_t)
    : database_(database) {
  absl::StatusOr<sqlite3_stmt*> statement = database.Prepare(sql);
  status_ = statement.status();
  if (statement.ok()) statement_ = *statement;
}

SqliteQuery::~SqliteQuery() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool SqliteQuery::Next() {
  if (!status_.ok()) return false;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) status_ = database_.Error("run a statement");
  return false;
}

int64_t SqliteQuery::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string SqliteQuery::Text(int column) const {
  const char* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string() : std::string(bytes, size);
}

bool SqliteQuery::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

bool SqliteQuery::Parse(int column, google::protobuf::MessageLite& message) {
  const void* bytes = sqlite3_column_blob(statement_, column);
  if (message.ParseFromArray(bytes, sqlite3_column_bytes(statement_, column))) return true;
  status_ = absl::DataLossError(
      absl::StrCat("a stored ", message.GetTypeName(), " does not parse in ", database_.path_));
  return false;
}

void SqliteQuery::BindNull(int index) {
  if (status_.ok()) Check(sqlite3_bind_null(statement_, index), "bind");
}

void SqliteQuery::BindInt(int index, int64_t value) {
  if (status_.ok()) Check(sqlite3_bind_int64(statement_, index, value), "bind");
}

void SqliteQuery::BindBytes(int index, absl::string_view bytes, bool text) {
  if (!status_.ok()) return;
  // A null pointer would bind NULL.
  const char* data = bytes.data() == nullptr ? "" : bytes.data();
  Check(text ? sqlite3_bind_text64(statement_, index, data, bytes.size(), SQLITE_TRANSIENT,
                                   SQLITE_UTF8)
             : sqlite3_bind_blob64(statement_, index, data, bytes.size(), SQLITE_TRANSIENT),
        "bind");
}

void SqliteQuery::Check(int code, absl::string_view action) {
  if (code != SQLITE_OK) status_ = database_.Error(action);
}

}  // namespace graft
