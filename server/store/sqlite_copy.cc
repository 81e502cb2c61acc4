#include "server/store/sqlite_copy.h"

#include <fcntl.h>
#include <sqlite3.h>

#include <memory>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "server/store/sqlite_file.h"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

constexpr int kPagesAtOnce = 256;  // 1 MiB.

// Far beyond what any store counts to, and another one at each restore: one backup may be restored
// twice.
constexpr int64_t kLeastEpochs = int64_t{1} << 32;
constexpr int64_t kMostEpochs = int64_t{1} << 40;

constexpr char kMoveJobEpochs[] = "UPDATE jobs SET lease_epoch = lease_epoch + ?1 WHERE done = 0";
constexpr char kMoveLeaseEpochs[] = "UPDATE leases SET lease_epoch = lease_epoch + ?1";

absl::StatusOr<int64_t> NumberOf(SqliteDatabase& database, const char* sql) {
  SqliteQuery query(database, sql);
  const int64_t number = query.Next() ? query.Int(0) : 0;
  RETURN_IF_ERROR(query.status());
  return number;
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> OpenCopy(const std::string& path, int flags) {
  return SqliteDatabase::Open(path, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
                              /*vfs=*/nullptr);
}

absl::Status CopyPages(SqliteDatabase& source, SqliteDatabase& target,
                       const ByteProgress& progress) {
  // The snapshot begins here, at the first read.
  ASSIGN_OR_RETURN(const int64_t page_bytes, NumberOf(source, "PRAGMA page_size"));
  RETURN_IF_ERROR(NumberOf(source, "SELECT COUNT(*) FROM store_identity").status());
  sqlite3_backup* const copy =
      sqlite3_backup_init(target.handle(), "main", source.handle(), "main");
  if (copy == nullptr) return target.Error("begin a copy");
  int code = SQLITE_OK;
  bool wanted = true;
  while (code == SQLITE_OK && wanted) {
    code = sqlite3_backup_step(copy, kPagesAtOnce);
    const int64_t pages = sqlite3_backup_pagecount(copy);
    wanted = progress((pages - sqlite3_backup_remaining(copy)) * page_bytes, pages * page_bytes);
  }
  sqlite3_backup_finish(copy);  // Its error is the target's.
  if (!wanted) return absl::CancelledError("the copy of the store was ended");
  return code == SQLITE_DONE ? absl::OkStatus() : target.Error("write a copy of the store");
}

}  // namespace

absl::Status CopyDatabase(SqliteDatabase& source, const std::string& path,
                          const ByteProgress& progress) {
  // SQLite would take what is there, and make it readable for all.
  ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDWR | O_CREAT | O_EXCL));
  // Before SQLite's journal beside it: what is left of a copy always shows what it was to be.
  RETURN_IF_ERROR(SyncDirectory(DirectoryOf(path)));
  {
    ASSIGN_OR_RETURN(const auto target, OpenCopy(path, SQLITE_OPEN_READWRITE));
    RETURN_IF_ERROR(CopyPages(source, *target, progress));
    // Else whoever opens the copy, if only to look, makes a write-ahead log beside it.
    RETURN_IF_ERROR(target->Execute("PRAGMA journal_mode = DELETE"));
  }
  return SyncFile(file.get(), path);
}

absl::StatusOr<std::vector<std::string>> FindDamageIn(SqliteDatabase& database) {
  std::vector<std::string> damage;
  SqliteQuery pages(database, "PRAGMA integrity_check");
  while (pages.Next()) {
    if (pages.Text(0) != "ok") damage.push_back(pages.Text(0));
  }
  // Where it cannot even be read that is what is wrong.
  if (!absl::IsDataLoss(pages.status())) {
    RETURN_IF_ERROR(pages.status());
  } else {
    damage.emplace_back(pages.status().message());
    return damage;
  }
  SqliteQuery references(database, "PRAGMA foreign_key_check");
  while (references.Next()) {
    damage.push_back(absl::StrCat("row ", references.Int(1), " of ", references.Text(0),
                                  " belongs to a row of ", references.Text(2),
                                  " that is not there"));
  }
  RETURN_IF_ERROR(references.status());
  return damage;
}

absl::StatusOr<StoreCopy> ReadStoreCopy(const std::string& path) {
  ASSIGN_OR_RETURN(const auto database, OpenCopy(path, SQLITE_OPEN_READONLY));
  RETURN_IF_ERROR(CheckIsOurs(*database, path));
  ASSIGN_OR_RETURN(const std::vector<std::string> damage, FindDamageIn(*database));
  if (!damage.empty()) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: ", damage[0]));
  }
  SqliteTables tables(*database);
  StoreCopy copy;
  ASSIGN_OR_RETURN(const IdentityRow identity, tables.ReadIdentity());
  copy.id = identity.id;
  ASSIGN_OR_RETURN(copy.schema, NumberOf(*database, "PRAGMA user_version"));
  ASSIGN_OR_RETURN(copy.blobs, tables.ListNamedBlobs());
  ASSIGN_OR_RETURN(const StoreCounts counts, tables.Counts());
  for (const auto& jobs : counts.jobs) copy.jobs += jobs.count;
  return copy;
}

absl::Status BeginNewLeaseEpochs(const std::string& path) {
  ASSIGN_OR_RETURN(const auto database, OpenCopy(path, SQLITE_OPEN_READWRITE));
  absl::BitGen random;
  const int64_t epochs = absl::Uniform(random, kLeastEpochs, kMostEpochs);
  RETURN_IF_ERROR(database->Execute("BEGIN IMMEDIATE"));
  RETURN_IF_ERROR(database->Run(kMoveJobEpochs, epochs));
  RETURN_IF_ERROR(database->Run(kMoveLeaseEpochs, epochs));
  return database->Execute("COMMIT");
}

}  // namespace graft
