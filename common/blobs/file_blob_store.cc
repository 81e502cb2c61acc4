#include "common/blobs/file_blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {
namespace {

constexpr char kObjects[] = "objects";
constexpr char kIncoming[] = "incoming";
constexpr size_t kCopyBytes = size_t{1} << 20;

absl::Status CheckHash(absl::string_view sha256) {
  if (IsSha256Hex(sha256)) return absl::OkStatus();
  return absl::InvalidArgumentError("a blob is named by 64 lower-case hexadecimal digits");
}

std::string ObjectPath(absl::string_view root, absl::string_view sha256) {
  return absl::StrCat(root, "/", kObjects, "/", sha256.substr(0, 2), "/", sha256);
}

std::string NameOf(absl::string_view sha256) { return absl::StrCat("blob ", sha256); }

absl::Status CopyFile(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(UniqueFd source, OpenFile(from, O_RDONLY));
  ASSIGN_OR_RETURN(UniqueFd target, OpenFile(to, O_WRONLY | O_CREAT | O_EXCL, 0444));
  std::string buffer(kCopyBytes, '\0');
  for (int64_t offset = 0;;) {
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(source.get(), offset, absl::MakeSpan(buffer), from));
    if (count == 0) break;
    RETURN_IF_ERROR(WriteAll(target.get(), absl::string_view(buffer.data(), count), to));
    offset += static_cast<int64_t>(count);
  }
  return SyncFile(target.get(), to);
}

// Some file systems have no hard links, or the two names are on different ones.
absl::Status LinkOrCopy(const std::string& from, const std::string& to) {
  const absl::Status linked = LinkFile(from, to);
  const bool none = absl::IsPermissionDenied(linked) || absl::IsUnavailable(linked);
  return none ? CopyFile(from, to) : linked;
}

absl::Status BlobNotFound(absl::string_view sha256) {
  return absl::NotFoundError(absl::StrCat("there is no blob ", sha256));
}

// A path in an error says nothing to a user; the hash does.
absl::Status ForBlob(const absl::Status& status, absl::string_view sha256) {
  return absl::IsNotFound(status) ? BlobNotFound(sha256) : status;
}

// A path says nothing to whoever brings a blob; that he may try again does.
absl::Status ForWriting(const absl::Status& status) {
  return absl::IsResourceExhausted(status) ? DiskFull("there is no room for a blob") : status;
}

}  // namespace

class FileBlobWriter : public BlobWriter {
 public:
  FileBlobWriter(FileBlobStore& store, BlobExpectation expected, std::string temporary, UniqueFd fd)
      : store_(store),
        expected_(std::move(expected)),
        temporary_(std::move(temporary)),
        fd_(std::move(fd)) {}
  ~FileBlobWriter() override { Discard(); }

  absl::Status Append(absl::string_view bytes) override {
    if (!fd_.valid()) return absl::FailedPreconditionError("the blob is committed or has failed");
    const absl::Status status = AppendOrFail(bytes);
    if (!status.ok()) Discard();
    return status;
  }

  absl::StatusOr<BlobInfo> Commit() override {
    if (!fd_.valid()) return absl::FailedPreconditionError("the blob is committed or has failed");
    absl::StatusOr<BlobInfo> info = CommitOrFail();
    Discard();
    return info;
  }

  int64_t size_bytes() const override { return size_bytes_; }

 private:
  absl::Status AppendOrFail(absl::string_view bytes) {
    const int64_t count = static_cast<int64_t>(bytes.size());
    if (expected_.size_bytes.has_value() && count > *expected_.size_bytes - size_bytes_) {
      return absl::InvalidArgumentError(
          absl::StrCat("more bytes than the ", *expected_.size_bytes, " announced"));
    }
    if (count > expected_.max_bytes - size_bytes_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("more bytes than the ", expected_.max_bytes, " allowed"));
    }
    RETURN_IF_ERROR(ForWriting(WriteAll(fd_.get(), bytes, temporary_)));
    hash_.Update(bytes);
    size_bytes_ += count;
    return absl::OkStatus();
  }

  absl::StatusOr<BlobInfo> CommitOrFail() {
    BlobInfo info{hash_.Hex(), size_bytes_};
    if (expected_.size_bytes.value_or(size_bytes_) != size_bytes_) {
      return absl::InvalidArgumentError(
          absl::StrCat(size_bytes_, " bytes instead of the ", *expected_.size_bytes, " announced"));
    }
    if (expected_.sha256.value_or(info.sha256) != info.sha256) {
      return absl::DataLossError(
          absl::StrCat("the bytes hash to ", info.sha256, " instead of ", *expected_.sha256));
    }
    RETURN_IF_ERROR(store_.Adopt(temporary_, fd_.get(), info.sha256));
    return info;
  }

  void Discard() {
    if (!fd_.valid()) return;
    RemoveFile(temporary_).IgnoreError();
    fd_.Reset();
  }

  FileBlobStore& store_;
  const BlobExpectation expected_;
  const std::string temporary_;
  UniqueFd fd_;  // invalid once committed or failed
  Sha256 hash_;
  int64_t size_bytes_ = 0;
};

namespace {

class FileBlobReader : public BlobReader {
 public:
  FileBlobReader(UniqueFd fd, int64_t size_bytes, std::string sha256)
      : fd_(std::move(fd)), size_bytes_(size_bytes), sha256_(std::move(sha256)) {}

  int64_t size_bytes() const override { return size_bytes_; }
  absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> buffer) const override {
    if (offset < 0) return absl::InvalidArgumentError("the offset is negative");
    return graft::ReadAt(fd_.get(), offset, buffer, absl::StrCat("blob ", sha256_));
  }

 private:
  const UniqueFd fd_;
  const int64_t size_bytes_;
  const std::string sha256_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FileBlobStore>> FileBlobStore::Open(std::string root) {
  RETURN_IF_ERROR(CreateDirectories(JoinPath(root, kObjects)));
  // What a killed process was writing has no name and no reader.
  RETURN_IF_ERROR(RemoveTree(JoinPath(root, kIncoming)));
  RETURN_IF_ERROR(CreateDirectories(JoinPath(root, kIncoming)));
  return std::unique_ptr<FileBlobStore>(new FileBlobStore(std::move(root)));
}

absl::StatusOr<std::unique_ptr<BlobWriter>> FileBlobStore::NewWriter(
    const BlobExpectation& expected) {
  static std::atomic<uint64_t> counter{0};
  if (expected.sha256.has_value()) RETURN_IF_ERROR(CheckHash(*expected.sha256));
  if (expected.size_bytes.value_or(0) < 0) {
    return absl::InvalidArgumentError("the announced size is negative");
  }
  if (expected.size_bytes.value_or(0) > expected.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        *expected.size_bytes, " bytes announced; at most ", expected.max_bytes, " are allowed"));
  }
  const std::string temporary =
      absl::StrCat(root_, "/", kIncoming, "/", ::getpid(), "-", counter.fetch_add(1));
  absl::StatusOr<UniqueFd> fd = OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!fd.ok()) return ForWriting(fd.status());
  return std::make_unique<FileBlobWriter>(*this, expected, temporary, *std::move(fd));
}

absl::Status FileBlobStore::Adopt(const std::string& path, int fd, absl::string_view sha256) {
  RETURN_IF_ERROR(CheckHash(sha256));
  const std::string object = ObjectPath(root_, sha256);
  RETURN_IF_ERROR(ForWriting(CreateDirectories(DirectoryOf(object))));
  const bool there = Keep(sha256).ok();
  // Its writer may not have come to the last sync yet, and our answer means durable too.
  if (there && Verify(sha256).ok()) return SyncDirectory(DirectoryOf(object));
  if (::fchmod(fd, 0444) != 0) return FileError(errno, "make read-only", path);
  RETURN_IF_ERROR(ForWriting(SyncFile(fd, path)));
  RETURN_IF_ERROR(ForWriting(RenameAndSync(path, object)));
  if (there) {
    NoteReplaced(sha256);
  } else {
    stored_bytes_ += FileSize(object).value_or(0);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<BlobReader>> FileBlobStore::Open(absl::string_view sha256) const {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenChecked(sha256));
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) {
    return FileError(errno, "read the size of", ObjectPath(root_, sha256));
  }
  return std::make_unique<FileBlobReader>(std::move(fd), info.st_size, std::string(sha256));
}

absl::StatusOr<UniqueFd> FileBlobStore::OpenChecked(absl::string_view sha256) const {
  RETURN_IF_ERROR(CheckHash(sha256));
  absl::StatusOr<UniqueFd> fd = OpenFile(ObjectPath(root_, sha256), O_RDONLY);
  if (!fd.ok()) return ForBlob(fd.status(), sha256);
  RETURN_IF_ERROR(NoteChecked(sha256, fd->get(), hashes_.Check(fd->get(), sha256, NameOf(sha256))));
  return fd;
}

absl::Status FileBlobStore::Verify(absl::string_view sha256) const {
  return OpenChecked(sha256).status();
}

absl::Status FileBlobStore::Scrub(absl::string_view sha256, const HashPace& pace) const {
  RETURN_IF_ERROR(CheckHash(sha256));
  const absl::StatusOr<UniqueFd> fd = OpenFile(ObjectPath(root_, sha256), O_RDONLY);
  if (!fd.ok()) return ForBlob(fd.status(), sha256);
  return NoteChecked(sha256, fd->get(), hashes_.Recheck(fd->get(), sha256, NameOf(sha256), pace));
}

absl::Status FileBlobStore::NoteChecked(absl::string_view sha256, int fd,
                                        const absl::Status& status) const {
  struct stat read;
  struct stat stored;
  // Whoever deletes or replaces a blob does so before he takes the lock to have it forgotten.
  MutexLock lock(corrupt_mutex_);
  if (::fstat(fd, &read) != 0 || ::stat(ObjectPath(root_, sha256).c_str(), &stored) != 0 ||
      read.st_dev != stored.st_dev || read.st_ino != stored.st_ino) {
    return status;
  }
  if (absl::IsDataLoss(status)) corrupt_.insert(std::string(sha256));
  if (status.ok()) corrupt_.erase(std::string(sha256));
  return status;
}

void FileBlobStore::NoteReplaced(absl::string_view sha256) {
  MutexLock lock(corrupt_mutex_);
  corrupt_.erase(std::string(sha256));
  ++repairs_;
}

std::vector<std::string> FileBlobStore::Corrupt() const {
  MutexLock lock(corrupt_mutex_);
  return {corrupt_.begin(), corrupt_.end()};
}

int64_t FileBlobStore::repairs() const {
  MutexLock lock(corrupt_mutex_);
  return repairs_;
}

absl::StatusOr<BlobInfo> FileBlobStore::Stat(absl::string_view sha256) const {
  RETURN_IF_ERROR(CheckHash(sha256));
  const absl::StatusOr<int64_t> size = FileSize(ObjectPath(root_, sha256));
  if (!size.ok()) return ForBlob(size.status(), sha256);
  return BlobInfo{std::string(sha256), *size};
}

absl::Status FileBlobStore::ForEach(const std::function<bool(const BlobInfo&)>& visit) const {
  const std::string objects = JoinPath(root_, kObjects);
  ASSIGN_OR_RETURN(const std::vector<std::string> directories, ListDirectory(objects));
  for (const std::string& directory : directories) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names,
                     ListDirectory(JoinPath(objects, directory)));
    for (const std::string& name : names) {
      const absl::StatusOr<BlobInfo> info = Stat(name);
      if (info.ok() && !visit(*info)) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status FileBlobStore::CountBytes() {
  int64_t bytes = 0;
  RETURN_IF_ERROR(ForEach([&bytes](const BlobInfo& blob) {
    bytes += blob.size_bytes;
    return true;
  }));
  stored_bytes_ = bytes;
  return absl::OkStatus();
}

absl::StatusOr<BlobInfo> FileBlobStore::Keep(absl::string_view sha256) {
  RETURN_IF_ERROR(CheckHash(sha256));
  const std::string path = ObjectPath(root_, sha256);
  MutexLock lock(stamp_mutex_);
  ASSIGN_OR_RETURN(BlobInfo info, Stat(sha256));
  RETURN_IF_ERROR(hashes_.KeepOver(path, [&]() -> absl::Status {
    // Finer than the ticks that the kernel itself stamps with: no other change looks like it.
    timespec now[2];
    ::clock_gettime(CLOCK_REALTIME, &now[0]);
    now[1] = now[0];
    if (::utimensat(AT_FDCWD, path.c_str(), now, 0) == 0) return absl::OkStatus();
    return ForBlob(FileError(errno, "renew the time of", path), sha256);
  }));
  return info;
}

absl::StatusOr<int64_t> FileBlobStore::StampOf(absl::string_view sha256) const {
  RETURN_IF_ERROR(CheckHash(sha256));
  const std::string path = ObjectPath(root_, sha256);
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return ForBlob(FileError(errno, "look at", path), sha256);
  return static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
}

absl::StatusOr<bool> FileBlobStore::DeleteIfUntouched(absl::string_view sha256, int64_t stamp) {
  MutexLock lock(stamp_mutex_);
  if (holds_ > 0) return false;
  const absl::StatusOr<int64_t> now = StampOf(sha256);
  if (absl::IsNotFound(now.status())) return false;
  RETURN_IF_ERROR(now.status());
  if (*now != stamp) return false;
  RETURN_IF_ERROR(Delete(sha256));
  return true;
}

std::shared_ptr<void> FileBlobStore::HoldDeletions() {
  MutexLock lock(stamp_mutex_);
  ++holds_;
  return {nullptr, [this](void*) {
            MutexLock lock(stamp_mutex_);
            --holds_;
          }};
}

bool FileBlobStore::deletions_held() const {
  MutexLock lock(stamp_mutex_);
  return holds_ > 0;
}

absl::Status FileBlobStore::Delete(absl::string_view sha256) {
  RETURN_IF_ERROR(CheckHash(sha256));
  const std::string path = ObjectPath(root_, sha256);
  const int64_t size = FileSize(path).value_or(0);
  const absl::Status status = RemoveFile(path);
  if (status.ok()) {
    stored_bytes_ -= size;
    MutexLock lock(corrupt_mutex_);
    corrupt_.erase(std::string(sha256));
  }
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::StatusOr<std::string> FileBlobStore::PathOf(absl::string_view sha256) const {
  RETURN_IF_ERROR(Verify(sha256));
  return ObjectPath(root_, sha256);
}

absl::Status FileBlobStore::Link(absl::string_view sha256, const std::string& path) const {
  ASSIGN_OR_RETURN(const std::string from, PathOf(sha256));
  return hashes_.KeepOver(from, [&] { return LinkOrCopy(from, path); });
}

absl::Status FileBlobStore::Unlink(const std::string& path) const {
  return hashes_.KeepOver(path, [&] { return RemoveFile(path); });
}

bool FileBlobStore::IsLinkOrCopy(absl::string_view sha256, const std::string& path) const {
  struct stat shown;
  struct stat stored;
  if (!CheckHash(sha256).ok() || ::lstat(path.c_str(), &shown) != 0 || !S_ISREG(shown.st_mode) ||
      ::stat(ObjectPath(root_, sha256).c_str(), &stored) != 0) {
    return false;
  }
  if (shown.st_dev == stored.st_dev && shown.st_ino == stored.st_ino) return true;
  // A link to a file that was replaced has one name left, too: only the bytes tell it from a copy.
  return shown.st_nlink == 1 && shown.st_size == stored.st_size &&
         hashes_.CheckFile(path, sha256, path).ok();
}

}  // namespace graft
