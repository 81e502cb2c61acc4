#include "server/catalogue/partial_uploads.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "server/catalogue/upload_room.h"

namespace graft {
namespace {

constexpr size_t kHashedBytes = size_t{1} << 20;

// A path says nothing to who uploads.
absl::Status ForUpload(const absl::Status& status) {
  return absl::IsResourceExhausted(status) ? DiskFull("there is no room for the upload") : status;
}

absl::Status SendsAlready() {
  return absl::AbortedError(
      "another upload of the same file goes on: send it from its beginning, or ask QueryUpload "
      "again");
}

absl::Status Damaged(const std::string& hash, const std::string& expected) {
  return absl::DataLossError(absl::StrCat(
      "the bytes hash to ", hash, " instead of ", expected,
      ": the file changed while it was sent, or what an earlier upload left of it is damaged; "
      "nothing of it is kept, send it from its beginning"));
}

void SetTime(int fd, absl::Duration time) {
  const timespec both[2] = {absl::ToTimespec(time), absl::ToTimespec(time)};
  // Without it the file's age only begins later.
  (void)::futimens(fd, both);
}

// Of a file that is a blob already: nothing of it has to be sent.
class StoredBlobWriter : public BlobWriter {
 public:
  StoredBlobWriter(FileBlobStore& blobs, BlobInfo info) : blobs_(blobs), info_(std::move(info)) {}
  absl::Status Append(absl::string_view bytes) override {
    if (bytes.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("more bytes than the ", info_.size_bytes, " announced"));
  }
  absl::StatusOr<BlobInfo> Commit() override {
    RETURN_IF_ERROR(blobs_.Verify(info_.sha256));
    return info_;
  }
  int64_t size_bytes() const override { return info_.size_bytes; }

 private:
  FileBlobStore& blobs_;
  const BlobInfo info_;
};

}  // namespace

class PartialUploads::Writer : public BlobWriter {
 public:
  Writer(PartialUploads& uploads, std::string name, std::shared_ptr<Sender> sender, BlobInfo whole)
      : uploads_(uploads),
        name_(std::move(name)),
        path_(uploads.PathOf(name_)),
        sender_(std::move(sender)),
        whole_(std::move(whole)) {}
  ~Writer() override {
    {
      MutexLock lock(sender_->mutex);
      if (!sender_->revoked && fd_.valid()) {
        if (drop_ || size_bytes_ == 0) {
          RemoveFile(path_).IgnoreError();
        } else {
          SetTime(fd_.get(), uploads_.running_time_());
        }
      }
    }
    uploads_.Release(name_, sender_);
  }

  // Before anything else, once: what is there up to `offset` is read, the rest dropped.
  absl::Status Begin(int64_t offset) {
    MutexLock lock(sender_->mutex);
    absl::StatusOr<UniqueFd> fd = OpenFile(path_, O_RDWR | O_CREAT, 0600);
    if (!fd.ok()) return ForUpload(fd.status());
    struct stat about;
    if (::fstat(fd->get(), &about) != 0) return FileError(errno, "look at", path_);
    size_bytes_ = about.st_size;
    fd_ = *std::move(fd);
    if (offset > about.st_size) {
      return absl::OutOfRangeError(absl::StrCat("offset_bytes ", offset, ": only ", about.st_size,
                                                " bytes of the file are there (QueryUpload)"));
    }
    if (::ftruncate(fd_.get(), offset) != 0) return FileError(errno, "cut", path_);
    std::string buffer(kHashedBytes, '\0');
    for (size_bytes_ = 0; size_bytes_ < offset;) {
      ASSIGN_OR_RETURN(const size_t count,
                       ReadAt(fd_.get(), size_bytes_, absl::MakeSpan(buffer), path_));
      if (count == 0) return absl::DataLossError("the upload's file became shorter");
      hash_.Update({buffer.data(), count});
      size_bytes_ += static_cast<int64_t>(count);
      uploads_.Hear(*sender_);
    }
    if (::lseek(fd_.get(), offset, SEEK_SET) != offset) return FileError(errno, "go on in", path_);
    return absl::OkStatus();
  }

  absl::Status Append(absl::string_view bytes) override {
    MutexLock lock(sender_->mutex);
    if (sender_->revoked) return SendsAlready();
    const auto count = static_cast<int64_t>(bytes.size());
    if (count > whole_.size_bytes - size_bytes_) {
      drop_ = true;
      return absl::InvalidArgumentError(
          absl::StrCat("more bytes than the ", whole_.size_bytes, " announced"));
    }
    RETURN_IF_ERROR(ForUpload(WriteAll(fd_.get(), bytes, path_)));
    hash_.Update(bytes);
    size_bytes_ += count;
    uploads_.Hear(*sender_);
    return absl::OkStatus();
  }

  absl::StatusOr<BlobInfo> Commit() override {
    MutexLock lock(sender_->mutex);
    if (sender_->revoked) return SendsAlready();
    // It may be that the stream broke: what came stays.
    if (size_bytes_ != whole_.size_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(size_bytes_, " bytes instead of the ", whole_.size_bytes, " announced"));
    }
    drop_ = true;
    const std::string hash = hash_.Hex();
    if (hash != whole_.sha256) return Damaged(hash, whole_.sha256);
    const absl::Status adopted = uploads_.blobs_.Adopt(path_, fd_.get(), whole_.sha256);
    drop_ = !absl::IsResourceExhausted(adopted);
    RETURN_IF_ERROR(adopted);
    return whole_;
  }

  int64_t size_bytes() const override { return size_bytes_; }

 private:
  PartialUploads& uploads_;
  const std::string name_;
  const std::string path_;
  const std::shared_ptr<Sender> sender_;
  const BlobInfo whole_;
  UniqueFd fd_;
  Sha256 hash_;
  int64_t size_bytes_ = 0;
  bool drop_ = false;
};

absl::StatusOr<std::unique_ptr<PartialUploads>> PartialUploads::Open(
    FileBlobStore& blobs, std::function<absl::Duration()> running_time, MetricRegistry& metrics,
    const PartialLimits& limits) {
  std::unique_ptr<PartialUploads> uploads(
      new PartialUploads(blobs, std::move(running_time), metrics, limits));
  RETURN_IF_ERROR(CreateDirectories(uploads->directory_));
  return uploads;
}

PartialUploads::PartialUploads(FileBlobStore& blobs, std::function<absl::Duration()> running_time,
                               MetricRegistry& metrics, const PartialLimits& limits)
    : blobs_(blobs),
      directory_(JoinPath(blobs.root(), "partial")),
      running_time_(std::move(running_time)),
      limits_(limits),
      resumed_bytes_(
          metrics.AddCounter("graft_resumed_upload_bytes_total",
                             "Bytes of uploads that were there already and were not sent again.")) {
  GaugeFamily& count = metrics.AddGauge("graft_partial_uploads",
                                        "Uploads that broke, and are kept to be gone on with.");
  GaugeFamily& bytes = metrics.AddGauge("graft_partial_upload_bytes", "What is there of them.");
  metrics.OnScrape([this, &count, &bytes] {
    const Usage now = usage();
    count.Set({}, static_cast<double>(now.count));
    bytes.Set({}, static_cast<double>(now.bytes));
  });
}

std::string PartialUploads::PathOf(const std::string& name) const {
  return JoinPath(directory_, name);
}

void PartialUploads::Hear(Sender& sender) const {
  sender.heard_ns = absl::ToInt64Nanoseconds(running_time_());
}

bool PartialUploads::IsSent(const std::string& name) const {
  const auto found = senders_.find(name);
  return found != senders_.end() &&
         running_time_() - absl::Nanoseconds(found->second->heard_ns.load()) < limits_.stalled;
}

std::shared_ptr<PartialUploads::Sender> PartialUploads::Take(const std::string& name) {
  auto taken = std::make_shared<Sender>();
  Hear(*taken);
  std::shared_ptr<Sender> stalled;
  {
    MutexLock lock(mutex_);
    if (IsSent(name)) return nullptr;
    stalled = std::exchange(senders_[name], taken);
  }
  if (stalled != nullptr) {
    // Waits for the write that he may be in the middle of: it is his last.
    MutexLock lock(stalled->mutex);
    stalled->revoked = true;
  }
  return taken;
}

void PartialUploads::Release(const std::string& name, const std::shared_ptr<Sender>& sender) {
  {
    MutexLock lock(mutex_);
    const auto found = senders_.find(name);
    if (found == senders_.end() || found->second != sender) return;
    senders_.erase(found);
  }
  Trim().IgnoreError();
}

int64_t PartialUploads::Received(const std::string& sha256, int64_t size_bytes) {
  const absl::StatusOr<BlobInfo> blob = blobs_.Keep(sha256);
  if (blob.ok() && blob->size_bytes == size_bytes) return size_bytes;
  const std::string name = absl::StrCat(sha256, "-", size_bytes);
  MutexLock lock(mutex_);
  if (IsSent(name)) return 0;
  return std::min(FileSize(PathOf(name)).value_or(0), size_bytes);
}

absl::StatusOr<std::unique_ptr<BlobWriter>> PartialUploads::Resume(const std::string& sha256,
                                                                   int64_t size_bytes,
                                                                   int64_t offset_bytes) {
  if (offset_bytes == size_bytes) {
    const absl::StatusOr<BlobInfo> blob = blobs_.Keep(sha256);
    if (blob.ok() && blob->size_bytes == size_bytes) {
      resumed_bytes_.Add({}, static_cast<double>(size_bytes));
      return std::make_unique<StoredBlobWriter>(blobs_, *blob);
    }
  }
  const std::string name = absl::StrCat(sha256, "-", size_bytes);
  std::shared_ptr<Sender> sender = Take(name);
  if (sender == nullptr) {
    if (offset_bytes > 0) return SendsAlready();
    BlobExpectation expected;
    expected.size_bytes = size_bytes;
    expected.sha256 = sha256;
    return blobs_.NewWriter(expected);
  }
  auto writer =
      std::make_unique<Writer>(*this, name, std::move(sender), BlobInfo{sha256, size_bytes});
  RETURN_IF_ERROR(writer->Begin(offset_bytes));
  resumed_bytes_.Add({}, static_cast<double>(offset_bytes));
  return writer;
}

std::vector<PartialUploads::Idle> PartialUploads::ListIdle() {
  const absl::Duration now = running_time_();
  std::vector<Idle> idle;
  for (const std::string& name : ListDirectory(directory_).value_or(std::vector<std::string>())) {
    struct stat about;
    if (senders_.count(name) > 0 || ::stat(PathOf(name).c_str(), &about) != 0) continue;
    absl::Duration since = absl::DurationFromTimespec(about.st_mtim);
    if (since > now) {
      since = now;
      const absl::StatusOr<UniqueFd> fd = OpenFile(PathOf(name), O_RDONLY);
      if (fd.ok()) SetTime(fd->get(), now);
    }
    idle.push_back({name, about.st_size, since});
  }
  std::sort(idle.begin(), idle.end(),
            [](const Idle& a, const Idle& b) { return a.since < b.since; });
  return idle;
}

int64_t PartialUploads::TotalBytes(const std::vector<Idle>& uploads) {
  int64_t bytes = 0;
  for (const Idle& upload : uploads) bytes += upload.bytes;
  return bytes;
}

absl::StatusOr<int64_t> PartialUploads::Trim() {
  MutexLock lock(mutex_);
  const std::vector<Idle> idle = ListIdle();
  int64_t bytes = TotalBytes(idle);
  int64_t deleted = 0;
  for (const Idle& upload : idle) {
    const bool keep = running_time_() - upload.since <= limits_.lifetime &&
                      idle.size() - deleted <= limits_.max_count && bytes <= limits_.max_bytes &&
                      RoomForUploads(blobs_) >= 0;
    if (keep) break;
    RETURN_IF_ERROR(RemoveFile(PathOf(upload.name)));
    bytes -= upload.bytes;
    ++deleted;
  }
  return deleted;
}

bool PartialUploads::MakeWay(int64_t bytes) {
  MutexLock lock(mutex_);
  const std::vector<Idle> idle = ListIdle();
  if (TotalBytes(idle) < bytes) return false;
  for (auto upload = idle.begin(); bytes > 0; bytes -= upload++->bytes) {
    if (!RemoveFile(PathOf(upload->name)).ok()) return false;
  }
  return true;
}

PartialUploads::Usage PartialUploads::usage() {
  MutexLock lock(mutex_);
  const std::vector<Idle> idle = ListIdle();
  return {static_cast<int64_t>(idle.size()), TotalBytes(idle)};
}

}  // namespace graft
