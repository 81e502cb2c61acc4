#pragma once

// Counts what SQLite does, on every connection that is opened while it exists: a test can then say
// that a look is cheap by the work it takes, which is the same on every machine, and not by a
// clock.

#include <sqlite3.h>

#include <cstdint>
#include <ostream>
#include <utility>

#include "common/base/mutex.h"

namespace graft {

// Of the statements that ended. SQLite's own counters (SQLITE_STMTSTATUS_…), and the rows that they
// returned.
struct SqliteWork {
  int64_t steps = 0;       // Instructions of its machine: every row that is looked at takes some.
  int64_t scan_steps = 0;  // Rows that a scan of a whole table went forward.
  int64_t sorts = 0;
  int64_t automatic_indexes = 0;  // Rows that went into an index made for one statement.
  int64_t rows = 0;
  int64_t writing = 0;   // Statements that may write, BEGIN IMMEDIATE among them.
  int64_t compiled = 0;  // What was looked up to compile statements: none compiled, none looked up.

  bool operator==(const SqliteWork&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const SqliteWork& work) {
  return out << work.steps << " steps, " << work.scan_steps << " of scans, " << work.sorts
             << " sorts, " << work.automatic_indexes << " rows of automatic indexes, " << work.rows
             << " rows, " << work.writing << " writing, " << work.compiled << " compiled";
}

// One at a time in a process. Thread-safe.
class SqliteMeter {
 public:
  SqliteMeter() { sqlite3_auto_extension(Entry()); }
  ~SqliteMeter() { sqlite3_cancel_auto_extension(Entry()); }
  SqliteMeter(const SqliteMeter&) = delete;
  SqliteMeter& operator=(const SqliteMeter&) = delete;

  // The work since it was taken last.
  SqliteWork Take() {
    Totals& totals = Global();
    MutexLock lock(totals.mutex);
    return std::exchange(totals.work, {});
  }

 private:
  struct Totals {
    Mutex mutex;
    SqliteWork work ABSL_GUARDED_BY(mutex);
  };

  static Totals& Global() {
    static Totals totals;
    return totals;
  }
  static void (*Entry())() { return reinterpret_cast<void (*)()>(&OnOpen); }
  static int OnOpen(sqlite3* database, const char**, const void*) {
    sqlite3_set_authorizer(database, OnCompile, nullptr);
    return sqlite3_trace_v2(database, SQLITE_TRACE_PROFILE | SQLITE_TRACE_ROW, OnTrace, nullptr);
  }
  static int OnCompile(void*, int, const char*, const char*, const char*, const char*) {
    Totals& totals = Global();
    MutexLock lock(totals.mutex);
    ++totals.work.compiled;
    return SQLITE_OK;
  }
  static int OnTrace(unsigned event, void*, void* statement, void*) {
    auto* const traced = static_cast<sqlite3_stmt*>(statement);
    const auto take = [traced](int counter) { return sqlite3_stmt_status(traced, counter, 1); };
    Totals& totals = Global();
    MutexLock lock(totals.mutex);
    if (event == SQLITE_TRACE_ROW) {
      ++totals.work.rows;
      return 0;
    }
    if (sqlite3_stmt_readonly(traced) == 0) ++totals.work.writing;
    totals.work.steps += take(SQLITE_STMTSTATUS_VM_STEP);
    totals.work.scan_steps += take(SQLITE_STMTSTATUS_FULLSCAN_STEP);
    totals.work.sorts += take(SQLITE_STMTSTATUS_SORT);
    totals.work.automatic_indexes += take(SQLITE_STMTSTATUS_AUTOINDEX);
    return 0;
  }
};

}  // namespace graft
