#pragma once

// The file of the SQLite store: who owns it, whether it is ours and of a version that is known, and
// how connections to it are set up.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/process_lock.h"
#include "server/store/sqlite_database.h"

namespace graft {

// Held as long as the process uses the store. Takes an exclusive lock on PATH.lock, which the
// kernel drops when the process ends in whatever way. FAILED_PRECONDITION (STORE_OWNED) names the
// process that holds it; INVALID_ARGUMENT on a network file system, whose locks and shared memory
// SQLite's WAL cannot trust.
absl::StatusOr<ProcessLock> LockStoreFile(const std::string& path);

// The connection that writes: WAL, synchronous=FULL, foreign keys, no automatic checkpoint.
absl::StatusOr<std::unique_ptr<SqliteDatabase>> OpenWriter(const std::string& path,
                                                           const char* vfs);
// One that reads: query_only, never checkpoints.
absl::StatusOr<std::unique_ptr<SqliteDatabase>> OpenReader(const std::string& path,
                                                           const char* vfs);

// A store that this graft knows, or an empty file. DATA_LOSS: a database of somebody else's;
// FAILED_PRECONDITION (STORE_NEWER).
absl::Status CheckIsOurs(SqliteDatabase& database, const std::string& path);

// Brings the schema to this program's version, each step in a transaction. FAILED_PRECONDITION
// (STORE_NEWER); DATA_LOSS when the file is no graft store.
absl::Status Migrate(SqliteDatabase& writer, const std::string& path);

// Writes the instance that owns the file, and returns its count of commits.
absl::StatusOr<int64_t> TakeOver(SqliteDatabase& writer, const std::string& instance,
                                 absl::Time now);
// Counts a commit. FAILED_PRECONDITION (STORE_OWNED) when another instance owns the file by now.
absl::Status CountCommit(SqliteDatabase& writer, const std::string& instance, int64_t commits);
absl::StatusOr<int64_t> ReadCommits(SqliteDatabase& writer);

}  // namespace graft
