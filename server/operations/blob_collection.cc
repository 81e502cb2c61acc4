#include "server/operations/blob_collection.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/jobs/names.h"

namespace graft {
namespace {

constexpr size_t kBatch = 500;  // Blobs in one transaction.

// One pass over candidates. What is noted of blobs that this pass does not come across stays.
class Collection {
 public:
  Collection(JobStore& store, FileBlobStore& blobs, absl::Duration age)
      : store_(store), blobs_(blobs), age_(age) {}

  absl::Status Begin() {
    ASSIGN_OR_RETURN(const std::vector<UnnamedBlob> noted, store_.UnnamedBlobs());
    for (const UnnamedBlob& blob : noted) noted_[blob.sha256] = blob;
    return absl::OkStatus();
  }

  // Considers all of them, and returns those that have been seen to. A file that cannot be looked
  // at or deleted keeps no other from its turn, and End tells it; an error of the store ends it.
  template <typename Hashes>
  absl::StatusOr<std::vector<std::string>> ConsiderAll(const Hashes& hashes) {
    std::vector<std::string> seen_to;
    for (const std::string& sha256 : hashes) {
      ASSIGN_OR_RETURN(const bool done, Consider(sha256));
      if (done) seen_to.push_back(sha256);
    }
    return seen_to;
  }
  // Of the blobs that were noted, those that are not `there`.
  void ForgetAllBut(const std::set<std::string>& there) {
    for (const auto& [sha256, blob] : noted_) {
      if (there.count(sha256) == 0) Forget(sha256);
    }
  }

  // How many were deleted, or what the first bad file failed by.
  absl::StatusOr<int64_t> End() {
    const absl::Span<const std::string> to_forget = to_forget_;
    for (size_t i = 0; i < to_forget.size(); i += kBatch) {
      RETURN_IF_ERROR(store_.ForgetUnnamedBlobs(to_forget.subspan(i, kBatch)));
    }
    const absl::Span<const UnnamedBlob> to_note = to_note_;
    for (size_t i = 0; i < to_note.size(); i += kBatch) {
      RETURN_IF_ERROR(store_.NoteUnnamedBlobs(to_note.subspan(i, kBatch)));
    }
    RETURN_IF_ERROR(bad_file_);
    return deleted_;
  }

 private:
  // Whether the blob has been seen to: it has a name, or it is gone. One that may yet be deleted
  // has not, nor one whose file is bad.
  absl::StatusOr<bool> Consider(const std::string& sha256) {
    // Before the question: whoever touches the blob and then names it is seen by one of the two.
    const absl::StatusOr<int64_t> stamp = blobs_.StampOf(sha256);
    ASSIGN_OR_RETURN(const bool named, store_.IsBlobReferenced(sha256));
    if (named || absl::IsNotFound(stamp.status())) {
      Forget(sha256);
      return true;
    }
    bad_file_.Update(stamp.status());
    if (!stamp.ok()) return false;
    const auto known = noted_.find(sha256);
    if (known == noted_.end() || known->second.stamp != *stamp) {
      to_note_.push_back({sha256, *stamp, absl::ZeroDuration()});
      return false;
    }
    if (known->second.age <= age_) return false;
    const absl::StatusOr<bool> gone = blobs_.DeleteIfUntouched(sha256, *stamp);
    bad_file_.Update(gone.status());
    if (!gone.value_or(false)) return false;
    ++deleted_;
    Forget(sha256);
    return true;
  }
  void Forget(const std::string& sha256) {
    if (noted_.count(sha256) > 0) to_forget_.push_back(sha256);
  }

  JobStore& store_;
  FileBlobStore& blobs_;
  const absl::Duration age_;
  std::map<std::string, UnnamedBlob> noted_;
  std::vector<UnnamedBlob> to_note_;
  std::vector<std::string> to_forget_;
  int64_t deleted_ = 0;
  absl::Status bad_file_;
};

}  // namespace

absl::StatusOr<int64_t> CollectGarbage(JobStore& store, FileBlobStore& blobs, absl::Duration age) {
  std::set<std::string> there;
  RETURN_IF_ERROR(blobs.ForEach([&](const BlobInfo& blob) {
    there.insert(blob.sha256);
    return true;
  }));
  Collection collection(store, blobs, age);
  RETURN_IF_ERROR(collection.Begin());
  RETURN_IF_ERROR(collection.ConsiderAll(there).status());
  collection.ForgetAllBut(there);
  return collection.End();
}

absl::StatusOr<int64_t> DeleteReleased(JobStore& store, FileBlobStore& blobs, absl::Duration age) {
  ASSIGN_OR_RETURN(const std::vector<std::string> released, store.ReleasedBlobs());
  if (released.empty()) return 0;
  Collection collection(store, blobs, age);
  RETURN_IF_ERROR(collection.Begin());
  ASSIGN_OR_RETURN(const std::vector<std::string> seen_to, collection.ConsiderAll(released));
  if (!seen_to.empty()) RETURN_IF_ERROR(store.ForgetReleasedBlobs(seen_to));
  return collection.End();
}

absl::StatusOr<int64_t> DeleteOrphanedLogs(JobStore& store, JobLogs& logs) {
  ASSIGN_OR_RETURN(const std::vector<std::string> ids, logs.JobIds());
  int64_t deleted = 0;
  for (const std::string& id : ids) {
    const absl::Status known = store.GetJob(JobName(id)).status();
    if (known.ok()) continue;
    if (!absl::IsNotFound(known)) return known;
    RETURN_IF_ERROR(logs.Delete(id));
    ++deleted;
  }
  return deleted;
}

}  // namespace graft
