#include "server/store/sqlite_file.h"

#include <linux/magic.h>
#include <sqlite3.h>
#include <sys/vfs.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/timestamps.h"
#include "graft/v1/job.pb.h"
#include "server/store/schema.h"

namespace graft {
namespace {

// "graf" in the header of the file, by which tools tell whose it is.
constexpr int64_t kApplicationId = 0x67726166;
constexpr int kBusyTimeoutMs = 5000;

// From statfs(2); not all are in linux/magic.h.
constexpr int64_t kNetworkFileSystems[] = {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC,
                                           AFS_SUPER_MAGIC, CODA_SUPER_MAGIC,
                                           0xff534d42,   // CIFS
                                           0xfe534d42,   // SMB2
                                           0x00c36400,   // Ceph
                                           0x0bd00bd0,   // Lustre
                                           0x47504653};  // GPFS

constexpr char kTakeOver[] = "UPDATE store_state SET instance = ?1, opened_time_ns = ?2";
constexpr char kCountCommit[] = "UPDATE store_state SET commits = ?1 WHERE instance = ?2";
constexpr char kReadCommits[] = "SELECT commits FROM store_state";

absl::Status RefuseNetworkFileSystem(const std::string& directory) {
  struct statfs info;
  if (::statfs(directory.c_str(), &info) != 0) return FileError(errno, "look at", directory);
  for (const int64_t type : kNetworkFileSystems) {
    if (static_cast<uint32_t>(info.f_type) != static_cast<uint32_t>(type)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--store: ", directory,
                     " is on a network file system, where SQLite loses data; use a local disk"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Integer(SqliteDatabase& database, const char* sql) {
  SqliteQuery query(database, sql);
  const int64_t value = query.Next() ? query.Int(0) : 0;
  RETURN_IF_ERROR(query.status());
  return value;
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> OpenConnection(const std::string& path,
                                                               const char* vfs,
                                                               const char* pragmas) {
  ASSIGN_OR_RETURN(auto database,
                   SqliteDatabase::Open(path,
                                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                            SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
                                        vfs));
  sqlite3_busy_timeout(database->handle(), kBusyTimeoutMs);
  sqlite3_db_config(database->handle(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database->handle(), SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  // Only the writer checkpoints, and only when it says so.
  sqlite3_db_config(database->handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  RETURN_IF_ERROR(database->Execute(pragmas));
  return database;
}

// For schema steps: job_time_ns(job, 'create') of a message graft.v1.Job, or 'end'; null where
// there is none.
void JobTimeNanos(sqlite3_context* context, int, sqlite3_value** values) {
  v1::Job job;
  const void* const bytes = sqlite3_value_blob(values[0]);
  if (!job.ParseFromArray(bytes, sqlite3_value_bytes(values[0]))) return;
  const auto* const which = reinterpret_cast<const char*>(sqlite3_value_text(values[1]));
  const bool end = absl::string_view(which) == "end";
  if (end ? !job.has_end_time() : !job.has_create_time()) return;
  const auto& time = end ? job.end_time() : job.create_time();
  sqlite3_result_int64(context, absl::ToUnixNanos(FromTimestamp(time)));
}

absl::Status ApplyStep(SqliteDatabase& writer, const char* sql, size_t version) {
  RETURN_IF_ERROR(writer.Execute("BEGIN IMMEDIATE"));
  absl::Status status = writer.Execute(sql);
  if (status.ok()) {
    status = writer.Execute(absl::StrCat("PRAGMA application_id = ", kApplicationId,
                                         "; PRAGMA user_version = ", version, "; COMMIT")
                                .c_str());
  }
  if (!status.ok() && writer.InTransaction()) writer.Execute("ROLLBACK").IgnoreError();
  return status;
}

}  // namespace

absl::StatusOr<ProcessLock> LockStoreFile(const std::string& path) {
  const std::string directory = DirectoryOf(path);
  RETURN_IF_ERROR(CreateDirectories(directory));
  RETURN_IF_ERROR(RefuseNetworkFileSystem(directory));
  absl::StatusOr<ProcessLock> lock = ProcessLock::Acquire(
      absl::StrCat(path, ".lock"), absl::StrCat("the store ", path), "graft-server");
  if (!absl::IsFailedPrecondition(lock.status())) return lock;
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        lock.status().message(), "; stop it, or give this one another --store")),
                    kReasonStoreOwned);
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> OpenWriter(const std::string& path,
                                                           const char* vfs) {
  ASSIGN_OR_RETURN(auto writer, OpenConnection(path, vfs, ""));
  // The write-ahead log is a property of the file: nobody else's file is changed.
  RETURN_IF_ERROR(CheckIsOurs(*writer, path));
  // What a savepoint may have to undo is kept in memory: a group of writes would put more of it
  // into a temporary file than it puts into the log.
  RETURN_IF_ERROR(
      writer->Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                      "PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 0;"
                      "PRAGMA temp_store = MEMORY"));
  SqliteQuery mode(*writer, "PRAGMA journal_mode");
  if (!mode.Next() || mode.Text(0) != "wal") {
    RETURN_IF_ERROR(mode.status());
    return absl::UnavailableError(absl::StrCat("cannot switch ", path, " to a write-ahead log"));
  }
  return writer;
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> OpenReader(const std::string& path,
                                                           const char* vfs) {
  return OpenConnection(path, vfs, "PRAGMA query_only = ON; PRAGMA wal_autocheckpoint = 0");
}

absl::Status CheckIsOurs(SqliteDatabase& database, const std::string& path) {
  ASSIGN_OR_RETURN(const int64_t version, Integer(database, "PRAGMA user_version"));
  ASSIGN_OR_RETURN(const int64_t application, Integer(database, "PRAGMA application_id"));
  ASSIGN_OR_RETURN(const int64_t tables, Integer(database, "SELECT COUNT(*) FROM sqlite_master"));
  if (application != kApplicationId && (tables > 0 || version != 0)) {
    return absl::DataLossError(absl::StrCat(path, " is a SQLite database, but not graft's"));
  }
  const auto known = static_cast<int64_t>(SchemaSteps().size());
  if (version <= known) return absl::OkStatus();
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          path, " has schema version ", version, ", written by a newer graft; this one knows ",
          known, ". Use the newer graft, or restore an older backup")),
      kReasonStoreNewer);
}

absl::Status Migrate(SqliteDatabase& writer, const std::string& path) {
  ASSIGN_OR_RETURN(const int64_t version, Integer(writer, "PRAGMA user_version"));
  sqlite3_create_function_v2(writer.handle(), "job_time_ns", 2, SQLITE_UTF8 | SQLITE_DIRECTONLY,
                             nullptr, JobTimeNanos, nullptr, nullptr, nullptr);
  const std::vector<const char*>& steps = SchemaSteps();
  for (size_t next = version; next < steps.size(); ++next) {
    RETURN_IF_ERROR(
        Annotate(ApplyStep(writer, steps[next], next + 1), absl::StrCat("schema step ", next + 1)));
  }
  return SyncDirectory(DirectoryOf(path));
}

absl::StatusOr<int64_t> TakeOver(SqliteDatabase& writer, const std::string& instance,
                                 absl::Time now) {
  RETURN_IF_ERROR(writer.Run(kTakeOver, instance, absl::ToUnixNanos(now)));
  return ReadCommits(writer);
}

absl::Status CountCommit(SqliteDatabase& writer, const std::string& instance, int64_t commits) {
  RETURN_IF_ERROR(writer.Run(kCountCommit, commits, instance));
  if (writer.ChangedRows() == 1) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError("another server has taken the store over"),
                    kReasonStoreOwned);
}

absl::StatusOr<int64_t> ReadCommits(SqliteDatabase& writer) {
  return Integer(writer, kReadCommits);
}

}  // namespace graft
