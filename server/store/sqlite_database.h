#pragma once

// One SQLite connection and its statements: the only place where SQLite's codes become Status.
//
// Codes: RESOURCE_EXHAUSTED (DISK_FULL); DATA_LOSS corrupt or no database; UNAVAILABLE other I/O
// errors and locks; INTERNAL anything else (our SQL is wrong, or a constraint was broken). A failed
// fsync ends the process (ReportFailedSync).
//
// Not thread-safe: a connection and its queries belong to one thread at a time.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message_lite.h"

struct sqlite3;
struct sqlite3_stmt;

namespace graft {

// Bytes for a BLOB column; plain strings are bound as TEXT.
struct SqliteBlob {
  explicit SqliteBlob(std::string bytes) : bytes(std::move(bytes)) {}
  explicit SqliteBlob(const google::protobuf::MessageLite& message)
      : bytes(message.SerializeAsString()) {}
  std::string bytes;
};

class SqliteDatabase {
 public:
  // `flags` are SQLITE_OPEN_*; `vfs` null: the default one.
  static absl::StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path, int flags,
                                                              const char* vfs);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  // Statements without parameters, separated by semicolons.
  absl::Status Execute(const char* sql);
  // One statement without rows, its parameters ?1, ?2 … bound to `arguments`.
  template <typename... Arguments>
  absl::Status Run(const char* sql, const Arguments&... arguments);

  // False after an error that made SQLite roll the whole transaction back.
  bool InTransaction() const;
  int64_t TotalChanges() const;
  int64_t ChangedRows() const;  // Of the last statement.
  int64_t LastInsertId() const;
  // The status of the last error of the connection.
  absl::Status Error(absl::string_view action) const;
  sqlite3* handle() const { return handle_; }

 private:
  friend class SqliteQuery;
  explicit SqliteDatabase(std::string path) : path_(std::move(path)) {}
  absl::StatusOr<sqlite3_stmt*> Prepare(const char* sql);

  const std::string path_;
  sqlite3* handle_ = nullptr;
  std::map<const char*, sqlite3_stmt*> statements_;  // By address: SQL is constants.
};

// One run of a statement with rows:
//   SqliteQuery query(database, kSql, id);
//   while (query.Next()) … query.Text(0) …
//   RETURN_IF_ERROR(query.status());
// One at a time for each SQL constant of a connection.
class SqliteQuery {
 public:
  template <typename... Arguments>
  SqliteQuery(SqliteDatabase& database, const char* sql, const Arguments&... arguments)
      : SqliteQuery(database, sql, nullptr) {
    int index = 0;
    (Bind(++index, arguments), ...);
  }
  ~SqliteQuery();
  SqliteQuery(const SqliteQuery&) = delete;
  SqliteQuery& operator=(const SqliteQuery&) = delete;

  // The next row; false at the end and after an error.
  bool Next();
  const absl::Status& status() const { return status_; }

  int64_t Int(int column) const;
  std::string Text(int column) const;  // Of TEXT and BLOB.
  bool IsNull(int column) const;
  // Parses a message; after DATA_LOSS, status() has it and Next is false.
  bool Parse(int column, google::protobuf::MessageLite& message);

 private:
  SqliteQuery(SqliteDatabase& database, const char* sql, std::nullptr_t);

  template <typename T>
  void Bind(int index, const T& value) {
    if constexpr (std::is_same_v<T, std::nullopt_t>) {
      BindNull(index);
    } else if constexpr (std::is_same_v<T, SqliteBlob>) {
      BindBytes(index, value.bytes, /*text=*/false);
    } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
      BindInt(index, static_cast<int64_t>(value));
    } else {
      BindBytes(index, absl::string_view(value), /*text=*/true);
    }
  }
  template <typename T>
  void Bind(int index, const std::optional<T>& value) {
    value ? Bind(index, *value) : BindNull(index);
  }
  void BindNull(int index);
  void BindInt(int index, int64_t value);
  void BindBytes(int index, absl::string_view bytes, bool text);
  void Check(int code, absl::string_view action);

  SqliteDatabase& database_;
  sqlite3_stmt* statement_ = nullptr;
  absl::Status status_;
};

template <typename... Arguments>
absl::Status SqliteDatabase::Run(const char* sql, const Arguments&... arguments) {
  SqliteQuery query(*this, sql, arguments...);
  while (query.Next()) continue;
  return query.status();
}

}  // namespace graft
