#pragma once

// Messages over a stream socket or pipe: a length (varint, as in protobuf's delimited streams),
// then as many bytes. It knows nothing of what is in them.

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"

namespace graft {

// Larger messages are refused in both directions: a length beyond this is a broken peer, not a
// message.
inline constexpr uint64_t kMaxDelimitedMessageBytes = 64ull << 20;

// Writes whole messages; thread-safe, and blocks while the peer does not read. `fd` is not owned.
class DelimitedWriter {
 public:
  explicit DelimitedWriter(int fd) : fd_(fd) {}
  // UNAVAILABLE: the peer is gone. INVALID_ARGUMENT: the message is too large. A signal SIGPIPE is
  // never raised on a socket.
  absl::Status Write(absl::string_view message) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const int fd_;
  Mutex mutex_;
};

// Reads whole messages; one thread at a time. `fd` is not owned.
class DelimitedReader {
 public:
  explicit DelimitedReader(int fd) : fd_(fd) {}
  // Blocks for the next message. OUT_OF_RANGE: end of the stream between two messages. DATA_LOSS:
  // the stream ended inside a message, or is not such a stream. UNAVAILABLE: the descriptor failed.
  absl::StatusOr<std::string> Read();

 private:
  // Makes at least `count` bytes available in buffer_; false at the stream's end.
  absl::StatusOr<bool> Fill(size_t count);

  const int fd_;
  std::string buffer_;
};

}  // namespace graft
