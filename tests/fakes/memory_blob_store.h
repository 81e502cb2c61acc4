#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/blobs/blob_store.h"

namespace graft {

// Blobs in memory, with the contract of BlobStore. FailWritesWith makes it a full or broken disk.
// Thread-safe.
class MemoryBlobStore : public BlobStore {
 public:
  // Every later Append and Commit returns `status`; OkStatus ends that.
  void FailWritesWith(absl::Status status) {
    MutexLock lock(mutex_);
    failure_ = std::move(status);
  }

  absl::StatusOr<std::unique_ptr<BlobWriter>> NewWriter(const BlobExpectation& expected) override {
    if (expected.sha256.has_value()) RETURN_IF_ERROR(CheckHash(*expected.sha256));
    if (expected.size_bytes.value_or(0) < 0) {
      return absl::InvalidArgumentError("the announced size is negative");
    }
    if (expected.size_bytes.value_or(0) > expected.max_bytes) {
      return absl::ResourceExhaustedError("more bytes announced than allowed");
    }
    return std::make_unique<Writer>(*this, expected);
  }

  absl::StatusOr<std::unique_ptr<BlobReader>> Open(absl::string_view sha256) const override {
    ASSIGN_OR_RETURN(std::shared_ptr<const std::string> bytes, Find(sha256));
    return std::make_unique<Reader>(std::move(bytes));
  }

  absl::StatusOr<BlobInfo> Stat(absl::string_view sha256) const override {
    ASSIGN_OR_RETURN(const std::shared_ptr<const std::string> bytes, Find(sha256));
    return BlobInfo{std::string(sha256), static_cast<int64_t>(bytes->size())};
  }

  absl::Status ForEach(const std::function<bool(const BlobInfo&)>& visit) const override {
    std::map<std::string, std::shared_ptr<const std::string>> blobs;
    {
      MutexLock lock(mutex_);
      blobs = blobs_;
    }
    for (const auto& [sha256, bytes] : blobs) {
      if (!visit(BlobInfo{sha256, static_cast<int64_t>(bytes->size())})) break;
    }
    return absl::OkStatus();
  }

  absl::Status Delete(absl::string_view sha256) override {
    RETURN_IF_ERROR(CheckHash(sha256));
    MutexLock lock(mutex_);
    blobs_.erase(std::string(sha256));
    return absl::OkStatus();
  }

 private:
  class Writer : public BlobWriter {
   public:
    Writer(MemoryBlobStore& store, BlobExpectation expected)
        : store_(store), expected_(std::move(expected)) {}

    absl::Status Append(absl::string_view bytes) override {
      if (done_) return absl::FailedPreconditionError("the blob is committed or has failed");
      const absl::Status status = TryAppend(bytes);
      done_ = !status.ok();
      return status;
    }
    absl::StatusOr<BlobInfo> Commit() override {
      if (done_) return absl::FailedPreconditionError("the blob is committed or has failed");
      done_ = true;
      RETURN_IF_ERROR(store_.Failure());
      BlobInfo info{Sha256Hex(bytes_), size_bytes()};
      if (expected_.size_bytes.value_or(size_bytes()) != size_bytes()) {
        return absl::InvalidArgumentError("another size than announced");
      }
      if (expected_.sha256.value_or(info.sha256) != info.sha256) {
        return absl::DataLossError("another hash than announced");
      }
      MutexLock lock(store_.mutex_);
      store_.blobs_.emplace(info.sha256, std::make_shared<const std::string>(std::move(bytes_)));
      return info;
    }
    int64_t size_bytes() const override { return static_cast<int64_t>(bytes_.size()); }

   private:
    absl::Status TryAppend(absl::string_view bytes) {
      RETURN_IF_ERROR(store_.Failure());
      const int64_t size = size_bytes() + static_cast<int64_t>(bytes.size());
      if (size > expected_.size_bytes.value_or(size)) {
        return absl::InvalidArgumentError("more bytes than announced");
      }
      if (size > expected_.max_bytes) {
        return absl::ResourceExhaustedError("more bytes than allowed");
      }
      absl::StrAppend(&bytes_, bytes);
      return absl::OkStatus();
    }

    MemoryBlobStore& store_;
    const BlobExpectation expected_;
    std::string bytes_;
    bool done_ = false;
  };

  class Reader : public BlobReader {
   public:
    explicit Reader(std::shared_ptr<const std::string> bytes) : bytes_(std::move(bytes)) {}
    int64_t size_bytes() const override { return static_cast<int64_t>(bytes_->size()); }
    absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> buffer) const override {
      if (offset < 0) return absl::InvalidArgumentError("the offset is negative");
      if (offset >= size_bytes()) return 0;
      return bytes_->copy(buffer.data(), buffer.size(), static_cast<size_t>(offset));
    }

   private:
    const std::shared_ptr<const std::string> bytes_;
  };

  static absl::Status CheckHash(absl::string_view sha256) {
    if (IsSha256Hex(sha256)) return absl::OkStatus();
    return absl::InvalidArgumentError("a blob is named by 64 lower-case hexadecimal digits");
  }
  absl::StatusOr<std::shared_ptr<const std::string>> Find(absl::string_view sha256) const {
    RETURN_IF_ERROR(CheckHash(sha256));
    MutexLock lock(mutex_);
    const auto found = blobs_.find(std::string(sha256));
    if (found == blobs_.end())
      return absl::NotFoundError(absl::StrCat("there is no blob ", sha256));
    return found->second;
  }
  absl::Status Failure() const {
    MutexLock lock(mutex_);
    return failure_;
  }

  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<const std::string>> blobs_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
