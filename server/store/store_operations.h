#pragma once

// What whoever runs a server asks of its store: to check it, to copy it, to know what it names.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

// A blob that rows name, and the length that they say it has.
struct NamedBlob {
  std::string sha256;
  int64_t size_bytes = 0;
};

// Told how many bytes of how many are done; false ends what is done with CANCELLED.
using ByteProgress = std::function<bool(int64_t done_bytes, int64_t total_bytes)>;

// Part of JobStore. Thread-safe; others read and write meanwhile.
class StoreOperations {
 public:
  virtual ~StoreOperations() = default;

  // Every blob for which IsBlobReferenced is true, by hash; with each length, should there be two.
  virtual absl::StatusOr<std::vector<NamedBlob>> NamedBlobs() = 0;
  // Who names the blob, for people: "data set articles", "jobs/k3f9: predictions.jsonl"; of many
  // some.
  virtual absl::StatusOr<std::vector<std::string>> NamersOf(absl::string_view sha256) = 0;
  // What is wrong with the store's file, a line each, of much some. Reads all of it.
  virtual absl::StatusOr<std::vector<std::string>> FindDamage() = 0;
  // Writes all that the store holds at one moment into the new file `path` (mode 0600), synced; its
  // name is the caller's to sync. ALREADY_EXISTS; FAILED_PRECONDITION: a store in memory;
  // RESOURCE_EXHAUSTED (DISK_FULL). After an error a part of the file may be there.
  virtual absl::Status CopyTo(const std::string& path, const ByteProgress& progress) = 0;
};

}  // namespace graft
