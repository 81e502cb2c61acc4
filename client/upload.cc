#include "client/upload.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "client/retry.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/rpc/deadline.h"

namespace graft {
namespace {

int64_t TotalBytes(const std::vector<FileToSend>& files) {
  int64_t total = 0;
  for (const FileToSend& file : files) total += file.size_bytes;
  return total;
}

// One upload, which may take several tries.
class UploadRun {
 public:
  UploadRun(v1::UploadService::Stub& server, const UploadPatience& patience,
            std::vector<FileToSend> files, const UploadObserver& observer,
            const TryUpload& try_once)
      : server_(server),
        patience_(patience),
        files_(std::move(files)),
        total_(TotalBytes(files_)),
        observer_(observer),
        try_once_(try_once) {}

  absl::Status Run() {
    for (;;) {
      end_ = {};
      broke_ = false;
      const absl::Status status = RetryUnavailable(
          most_kept_ < 0 ? patience_.first : patience_.broken, [&] { return Try(); });
      RETURN_IF_ERROR(end_.read);
      if (broke_) {
        if (observer_) observer_({UploadProgress::Stage::kBroken, kept_, total_, kept_, end_.call});
        continue;
      }
      const bool of_no_use =
          absl::IsDataLoss(status) || absl::IsOutOfRange(status) || absl::IsAborted(status);
      if (!of_no_use || kept_ == 0) return status;
      from_beginning_ = true;
    }
  }

 private:
  // Each try that finds more at the server than any before begins a new patience.
  absl::Status Try() {
    RETURN_IF_ERROR(AskForOffsets());
    const bool further = kept_ > most_kept_;
    most_kept_ = std::max(most_kept_, kept_);
    int64_t done = kept_;
    const auto tell = [&](int64_t bytes) {
      done += bytes;
      if (observer_) observer_({UploadProgress::Stage::kSending, done, total_, kept_, {}});
    };
    if (kept_ > 0) tell(0);
    end_ = try_once_(files_, tell);
    // An error here ends it, whatever its code.
    if (!end_.read.ok()) return absl::OkStatus();
    broke_ = further && absl::IsUnavailable(end_.call);
    return broke_ ? absl::OkStatus() : end_.call;
  }

  absl::Status AskForOffsets() {
    kept_ = 0;
    for (FileToSend& file : files_) {
      file.offset_bytes = 0;
      if (from_beginning_ || file.size_bytes == 0) continue;
      v1::QueryUploadRequest request;
      request.set_sha256(file.sha256);
      request.set_size_bytes(file.size_bytes);
      v1::QueryUploadResponse response;
      grpc::ClientContext context;
      context.set_deadline(DeadlineAfter(patience_.call_timeout));
      const absl::Status asked = EndOf(server_.QueryUpload(&context, request, &response));
      if (absl::IsUnimplemented(asked)) return absl::OkStatus();  // It is older.
      RETURN_IF_ERROR(asked);
      file.offset_bytes = std::clamp<int64_t>(response.received_bytes(), 0, file.size_bytes);
      kept_ += file.offset_bytes;
    }
    return absl::OkStatus();
  }

  v1::UploadService::Stub& server_;
  const UploadPatience patience_;
  std::vector<FileToSend> files_;
  const int64_t total_;
  const UploadObserver& observer_;
  const TryUpload& try_once_;
  bool from_beginning_ = false;
  int64_t kept_ = 0;        // Of the last try.
  int64_t most_kept_ = -1;  // Of all tries; negative: there was none yet.
  UploadEnd end_;
  bool broke_ = false;
};

}  // namespace

absl::Status HashFiles(std::vector<FileToSend>& files, const UploadObserver& observer) {
  for (FileToSend& file : files) {
    ASSIGN_OR_RETURN(file.size_bytes, FileSize(file.path));
  }
  UploadProgress progress = {UploadProgress::Stage::kHashing, 0, TotalBytes(files), 0, {}};
  for (FileToSend& file : files) {
    if (!file.sha256.empty()) continue;
    Sha256 hash;
    int64_t size = 0;
    RETURN_IF_ERROR(SendFile(file.path, 0, [&](const std::string& piece) {
      hash.Update(piece);
      size += static_cast<int64_t>(piece.size());
      progress.done_bytes += static_cast<int64_t>(piece.size());
      if (observer) observer(progress);
      return true;
    }));
    file.size_bytes = size;
    file.sha256 = hash.Hex();
  }
  return absl::OkStatus();
}

absl::Status Upload(v1::UploadService::Stub& server, const UploadPatience& patience,
                    std::vector<FileToSend> files, const UploadObserver& observer,
                    const TryUpload& try_once) {
  return UploadRun(server, patience, std::move(files), observer, try_once).Run();
}

}  // namespace graft
