#pragma once

// Copies of a SQLite store's file: how one is made while the store is at work, and what is done
// with one that nobody has open.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/store_operations.h"

namespace graft {

class SqliteDatabase;

// StoreOperations::CopyTo of what `source`, which is in a read transaction, sees. The copy needs no
// other file beside it.
absl::Status CopyDatabase(SqliteDatabase& source, const std::string& path,
                          const ByteProgress& progress);
// StoreOperations::FindDamage.
absl::StatusOr<std::vector<std::string>> FindDamageIn(SqliteDatabase& database);

struct StoreCopy {
  std::string id;  // JobStore::Id.
  int64_t schema = 0;
  int64_t jobs = 0;
  std::vector<NamedBlob> blobs;  // StoreOperations::NamedBlobs.
};
// Reads and checks all of a copy. DATA_LOSS: it is no graft store, or damaged; FAILED_PRECONDITION
// (STORE_NEWER): a newer graft wrote it.
absl::StatusOr<StoreCopy> ReadStoreCopy(const std::string& path);

// For a copy that is to be a store again: no lease epoch that the original granted after the copy
// was made is granted again. So whoever holds a lease of that time, or of before, gets STALE_LEASE
// for ever; those that the copy knows run out as after any restart.
absl::Status BeginNewLeaseEpochs(const std::string& path);

}  // namespace graft
