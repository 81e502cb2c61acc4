#pragma once

// All that a SQLite store's file holds, in a hash: the store is what it was after a commit, or it
// is not.

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/sha256.h"
#include "server/store/sqlite_database.h"
#include "server/store/sqlite_file.h"
#include "tests/server/store/store_fixture.h"

namespace graft {

struct StoreContents {
  int64_t commits = -1;  // That changed anything, since the store was made.
  std::string sha256;

  bool operator==(const StoreContents&) const = default;
};

// Reads by a connection of its own. Of who has the store open it knows nothing.
class ContentsReader {
 public:
  explicit ContentsReader(const std::string& path) : database_(*OpenReader(path, nullptr)) {
    for (const std::string& table : Rows("SELECT name FROM sqlite_master WHERE type = 'table'")) {
      if (table != "store_state") queries_.push_back("SELECT * FROM " + table);
    }
    queries_.push_back("SELECT commits FROM store_state");
  }

  StoreContents Read() const {
    StoreContents contents;
    Sha256 hash;
    EXPECT_OK(database_->Execute("BEGIN"));
    for (const std::string& query : queries_) {
      for (const std::string& row : Rows(query)) hash.Update(row);
    }
    contents.sha256 = hash.Hex();
    contents.commits = std::stoll(Rows(queries_.back()).at(0));
    EXPECT_OK(database_->Execute("ROLLBACK"));
    return contents;
  }
  // The rows of a query, each as one text.
  std::vector<std::string> Rows(const std::string& sql) const {
    std::vector<std::string> rows;
    sqlite3_stmt* query = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(database_->handle(), sql.c_str(), -1, &query, nullptr), SQLITE_OK)
        << sql;
    int code = SQLITE_ERROR;
    while ((code = sqlite3_step(query)) == SQLITE_ROW) {
      std::string row;
      for (int i = 0; i < sqlite3_column_count(query); ++i) {
        const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(query, i));
        if (i > 0) row += '\t';
        if (bytes == nullptr) row += "(null)";
        row.append(bytes == nullptr ? "" : bytes, sqlite3_column_bytes(query, i));
      }
      rows.push_back(std::move(row));
    }
    EXPECT_EQ(code, SQLITE_DONE) << sql << ": " << sqlite3_errmsg(database_->handle());
    sqlite3_finalize(query);
    return rows;
  }

 private:
  const std::unique_ptr<SqliteDatabase> database_;
  std::vector<std::string> queries_;
};

}  // namespace graft
