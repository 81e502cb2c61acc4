#pragma once

// A Backend on one SQLite file, by rules that keep clear of the WAL-reset bug of SQLite up
// to 3.51.2: this process owns the file; one thread does every write and every checkpoint on one
// connection; all other connections only read. Writers that wait together share one commit:
//
//   Write() ─┐
//   Write() ─┼─▶ queue ─▶ writer thread: BEGIN, a savepoint for each, COMMIT, answer all,
//   checkpoint Write() ─┘ Read() ────▶ a connection of the pool: BEGIN, body, ROLLBACK

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/job_listeners.h"
#include "server/store/tables.h"

namespace graft {

struct SqliteOptions {
  std::string path;
  // SQLite's VFS; null: the default. For fault injection.
  const char* vfs = nullptr;
};

// Opens or makes the file; see OpenJobStore for the codes.
absl::StatusOr<std::unique_ptr<Backend>> OpenSqliteBackend(const SqliteOptions& sqlite,
                                                           const StoreOptions& options,
                                                           std::shared_ptr<JobListeners> listeners);

}  // namespace graft
