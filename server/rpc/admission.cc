#include "server/rpc/admission.h"

#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"

namespace graft {
namespace {

constexpr absl::Duration kRetryStream = absl::Seconds(5);
constexpr absl::Duration kRetryBytes = absl::Seconds(1);

}  // namespace

AdmissionLimits WorkerLimits() {
  AdmissionLimits limits;
  limits.whose = "workers";
  limits.max_streams = kMaxWorkerStreams;
  limits.max_streams_of_peer = kMaxWorkerStreams;
  limits.reserved_streams = 0;
  limits.max_buffer_bytes = kMaxWorkerBufferBytes;
  return limits;
}

absl::Status Admission::BeginStream(const std::string& peer) {
  MutexLock lock(mutex_);
  const auto found = streams_of_peer_.find(peer);
  const size_t own = found == streams_of_peer_.end() ? 0 : found->second;
  if (streams_ >= limits_.max_streams) {
    return Overloaded(absl::StrCat("too many streams: the ", limits_.whose, " have ",
                                   limits_.max_streams, " open, the most there may be"),
                      kRetryStream);
  }
  if (own >= limits_.max_streams_of_peer) {
    return Overloaded(absl::StrCat("too many streams: this connection has ", own,
                                   " open, the most that one may have"),
                      kRetryStream);
  }
  if (streams_ >= limits_.max_streams - limits_.reserved_streams && own >= limits_.few_streams) {
    return Overloaded(absl::StrCat("too many streams: the ", limits_.whose, " have ", streams_,
                                   " open, and the last ", limits_.reserved_streams,
                                   " are for connections with fewer than ", limits_.few_streams,
                                   "; this one has ", own),
                      kRetryStream);
  }
  ++streams_;
  ++streams_of_peer_[peer];
  return absl::OkStatus();
}

void Admission::EndStream(const std::string& peer) {
  MutexLock lock(mutex_);
  --streams_;
  const auto own = streams_of_peer_.find(peer);
  if (--own->second == 0) streams_of_peer_.erase(own);
}

absl::Status Admission::TakeBytes(int64_t bytes) {
  MutexLock lock(mutex_);
  if (bytes > limits_.max_buffer_bytes - bytes_) {
    return Overloaded(absl::StrCat("too much at once: ", bytes_, " bytes of the ", limits_.whose,
                                   "' messages wait to be worked off; with this one there would "
                                   "be more than the ",
                                   limits_.max_buffer_bytes, " that may"),
                      kRetryBytes);
  }
  bytes_ += bytes;
  return absl::OkStatus();
}

void Admission::ReturnBytes(int64_t bytes) {
  MutexLock lock(mutex_);
  bytes_ -= bytes;
}

}  // namespace graft
