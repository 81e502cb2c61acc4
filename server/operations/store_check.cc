#include "server/operations/store_check.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

class StoreCheck {
 public:
  StoreCheck(JobStore& store, const FileBlobStore& blobs, bool read,
             const OperationProgress& progress)
      : store_(store), blobs_(blobs), read_(read), progress_(progress) {}

  absl::StatusOr<admin::v1::CheckReport> Run() {
    if (!progress_(MakeProgress("store", 0, 0))) return Ended();
    ASSIGN_OR_RETURN(const std::vector<std::string> damage, store_.FindDamage());
    for (const std::string& line : damage) Tell(absl::StrCat("the store's file: ", line));
    // Before the names are read: a blob that gets its name meanwhile counts as it did before.
    std::map<std::string, int64_t> there;
    RETURN_IF_ERROR(blobs_.ForEach([&](const BlobInfo& blob) {
      there[blob.sha256] = blob.size_bytes;
      return true;
    }));
    ASSIGN_OR_RETURN(const std::vector<NamedBlob> named, store_.NamedBlobs());
    for (const NamedBlob& blob : named) total_bytes_ += blob.size_bytes;
    for (const NamedBlob& blob : named) {
      RETURN_IF_ERROR(CheckBlob(blob));
      report_.set_named_blobs(report_.named_blobs() + 1);
      report_.set_named_bytes(report_.named_bytes() + blob.size_bytes);
      there.erase(blob.sha256);
    }
    for (const auto& [sha256, size_bytes] : there) {
      report_.set_unnamed_blobs(report_.unnamed_blobs() + 1);
      report_.set_unnamed_bytes(report_.unnamed_bytes() + size_bytes);
    }
    return std::move(report_);
  }

 private:
  static absl::Status Ended() { return absl::CancelledError("the check was ended"); }

  void Tell(std::string problem) {
    report_.set_problem_count(report_.problem_count() + 1);
    if (report_.problems_size() < kMostProblemsTold) report_.add_problems(std::move(problem));
  }

  absl::Status CheckBlob(const NamedBlob& blob) {
    const absl::StatusOr<std::string> wrong = Wrong(blob);
    RETURN_IF_ERROR(wrong.status());
    if (wrong->empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::vector<std::string> namers, store_.NamersOf(blob.sha256));
    // Nobody names it any more: deleted since.
    if (!namers.empty()) Tell(absl::StrCat(absl::StrJoin(namers, ", "), ": ", *wrong));
    return absl::OkStatus();
  }

  // Empty: nothing.
  absl::StatusOr<std::string> Wrong(const NamedBlob& blob) {
    const absl::StatusOr<BlobInfo> info = blobs_.Stat(blob.sha256);
    if (absl::IsNotFound(info.status())) return absl::StrCat("blob ", blob.sha256, " is missing");
    if (!info.ok()) return std::string(info.status().message());
    if (info->size_bytes != blob.size_bytes) {
      return absl::StrCat("blob ", blob.sha256, " has ", info->size_bytes, " bytes instead of ",
                          blob.size_bytes);
    }
    const bool goes_on = read_ || progress_(MakeProgress("blobs", done_bytes_, total_bytes_));
    if (!goes_on) return Ended();
    if (!read_) {
      done_bytes_ += blob.size_bytes;
      return std::string();
    }
    const absl::Status bytes = blobs_.Scrub(blob.sha256, [this](int64_t count) {
      done_bytes_ += count;
      return progress_(MakeProgress("blobs", done_bytes_, total_bytes_));
    });
    if (absl::IsCancelled(bytes)) return Ended();
    return std::string(bytes.message());
  }

  JobStore& store_;
  const FileBlobStore& blobs_;
  const bool read_;
  const OperationProgress& progress_;
  int64_t done_bytes_ = 0;
  int64_t total_bytes_ = 0;
  admin::v1::CheckReport report_;
};

}  // namespace

absl::StatusOr<admin::v1::CheckReport> CheckStore(JobStore& store, const FileBlobStore& blobs,
                                                  const admin::v1::CheckRequest& request,
                                                  const OperationProgress& progress) {
  return StoreCheck(store, blobs, request.read(), progress).Run();
}

}  // namespace graft
