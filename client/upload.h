#pragma once

// Uploads that go on where they broke: what is sent, asked for and tried again. What is uploaded is
// said by ApiClient.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/file_transfer.h"
#include "graft/v1/upload.grpc.pb.h"

namespace graft {

// How far an upload is.
struct UploadProgress {
  enum class Stage {
    kHashing,
    kSending,
    kBroken,  // It is gone on with as soon as the server is there.
  };
  Stage stage = Stage::kSending;
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;
  int64_t kept_bytes = 0;  // kSending: of done_bytes, those that the server had already.
  absl::Status why;        // kBroken.
};
// May be empty.
using UploadObserver = std::function<void(const UploadProgress&)>;

// How long a server is waited for.
struct UploadPatience {
  absl::Duration call_timeout;
  absl::Duration first;   // One that has not been there yet.
  absl::Duration broken;  // One that went away since more was last brought to it.
};

// Reads the files once, for size and hash. Codes of common/base/file.h.
absl::Status HashFiles(std::vector<FileToSend>& files, const UploadObserver& observer);

// How a try to upload ended: by an error of the local files, or as the server said.
struct UploadEnd {
  absl::Status read;
  absl::Status call;
};
// Sends the files, each from its offset on, and says so of every piece.
using TryUpload = std::function<UploadEnd(const std::vector<FileToSend>& files,
                                          const std::function<void(int64_t bytes)>& on_sent)>;

// Asks the server what it has of the files, which are hashed, and sends the rest; again when the
// server was away, and once from the beginning when what it had was of no use. A server that knows
// nothing of that is sent all.
absl::Status Upload(v1::UploadService::Stub& server, const UploadPatience& patience,
                    std::vector<FileToSend> files, const UploadObserver& observer,
                    const TryUpload& try_once);

}  // namespace graft
