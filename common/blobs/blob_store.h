#pragma once

// Blobs: immutable byte strings stored by their SHA-256. Every artifact, data set and model file is
// one; what they mean is said by rows that name their hashes (common/formats/manifest.h). A blob
// that no row names is garbage, collected later.
//
//   writer = NewWriter(...)   Append …   Commit ──▶ blob of that hash, durable
//                                 └ destroyed without Commit: nothing is left

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

struct BlobInfo {
  std::string sha256;  // 64 lower-case hexadecimal digits
  int64_t size_bytes = 0;
};

// What the sender said about a blob before it sent it.
struct BlobExpectation {
  std::optional<int64_t> size_bytes;
  std::optional<std::string> sha256;
  int64_t max_bytes = std::numeric_limits<int64_t>::max();
};

// Takes the bytes of one blob. One thread at a time; used no longer than its store.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  // INVALID_ARGUMENT beyond the expected size; RESOURCE_EXHAUSTED beyond max_bytes or when the disk
  // is full; DATA_LOSS when the device fails. After an error the writer is of no more use.
  virtual absl::Status Append(absl::string_view bytes) = 0;
  // Makes the blob last and visible, whole. Called once. INVALID_ARGUMENT: another size than
  // expected. DATA_LOSS: another hash. Codes of Append. A blob that is there already is left as it
  // is but counts as new (BlobStore::Keep), and that is OK; one whose bytes are not those that its
  // name says is replaced.
  virtual absl::StatusOr<BlobInfo> Commit() = 0;
  virtual int64_t size_bytes() const = 0;
};

// An open blob; it can be read to its end even when it is deleted meanwhile. Thread-safe.
class BlobReader {
 public:
  virtual ~BlobReader() = default;
  virtual int64_t size_bytes() const = 0;
  // Fills `buffer` from `offset` and returns how many bytes; fewer than asked for only at the end,
  // 0 behind it. INVALID_ARGUMENT: negative offset. DATA_LOSS: the device failed.
  virtual absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> buffer) const = 0;
};

// Thread-safe. Calls block on the disk. A hash that is no hash is INVALID_ARGUMENT everywhere, so
// no name reaches the disk that was not made from 64 hexadecimal digits.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> NewWriter(
      const BlobExpectation& expected) = 0;
  // NOT_FOUND when there is no such blob. DATA_LOSS: its bytes are not those that its name says.
  virtual absl::StatusOr<std::unique_ptr<BlobReader>> Open(absl::string_view sha256) const = 0;
  // NOT_FOUND as Open.
  virtual absl::StatusOr<BlobInfo> Stat(absl::string_view sha256) const = 0;
  // Stat for who is about to name the blob by a row: from here on it counts as new, so that it is
  // not collected before the row is there. Says nothing about its bytes: see Verify.
  virtual absl::StatusOr<BlobInfo> Keep(absl::string_view sha256) { return Stat(sha256); }
  // Calls `visit` for each blob, in no order, until it returns false. Blobs made or deleted
  // meanwhile may be missed.
  virtual absl::Status ForEach(const std::function<bool(const BlobInfo&)>& visit) const = 0;
  // OK when there is none. The caller knows that no row names the blob and that none is about to.
  virtual absl::Status Delete(absl::string_view sha256) = 0;

  // The whole blob from memory.
  absl::StatusOr<BlobInfo> Put(absl::string_view bytes);
  // NOT_FOUND as Open; RESOURCE_EXHAUSTED when it is longer than max_bytes.
  absl::StatusOr<std::string> Get(absl::string_view sha256, int64_t max_bytes) const;
  // Reads the blob and compares its bytes with its name. NOT_FOUND; DATA_LOSS when they differ.
  virtual absl::Status Verify(absl::string_view sha256) const;
};

}  // namespace graft
