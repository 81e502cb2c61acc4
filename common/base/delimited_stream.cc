#include "common/base/delimited_stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr size_t kReadPieceBytes = 64 << 10;
constexpr int kMaxVarintBytes = 10;

std::string VarintOf(uint64_t value) {
  std::string bytes;
  while (value >= 0x80) {
    bytes.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

// send() keeps SIGPIPE away; a pipe, as tests use it, takes only write().
ssize_t SendOrWrite(int fd, const char* bytes, size_t count) {
  const ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
  if (sent < 0 && errno == ENOTSOCK) return write(fd, bytes, count);
  return sent;
}

absl::Status WriteBytes(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = SendOrWrite(fd, bytes.data(), bytes.size());
    if (sent < 0) {
      if (errno == EINTR) continue;
      return absl::UnavailableError(absl::StrCat("cannot write to the peer: ", strerror(errno)));
    }
    bytes.remove_prefix(sent);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DelimitedWriter::Write(absl::string_view message) {
  if (message.size() > kMaxDelimitedMessageBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a message of ", message.size(),
                                                   " bytes; at most ", kMaxDelimitedMessageBytes,
                                                   " are sent"));
  }
  const std::string length = VarintOf(message.size());
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(WriteBytes(fd_, length));
  return WriteBytes(fd_, message);
}

absl::StatusOr<bool> DelimitedReader::Fill(size_t count) {
  while (buffer_.size() < count) {
    const size_t old_size = buffer_.size();
    buffer_.resize(old_size + std::max(count - old_size, kReadPieceBytes));
    const ssize_t received = read(fd_, buffer_.data() + old_size, buffer_.size() - old_size);
    buffer_.resize(old_size + std::max<ssize_t>(received, 0));
    if (received < 0 && errno == EINTR) continue;
    // A peer that was killed resets the connection: that is its end, too.
    if (received == 0 || (received < 0 && errno == ECONNRESET)) return false;
    if (received < 0) {
      return absl::UnavailableError(absl::StrCat("cannot read from the peer: ", strerror(errno)));
    }
  }
  return true;
}

absl::StatusOr<std::string> DelimitedReader::Read() {
  uint64_t length = 0;
  int used = 0;
  for (bool more = true; more; ++used) {
    ASSIGN_OR_RETURN(const bool filled, Fill(used + 1));
    if (!filled && used == 0) return absl::OutOfRangeError("end of the stream");
    if (!filled) return absl::DataLossError("the stream ended inside a message's length");
    if (used == kMaxVarintBytes) return absl::DataLossError("a message's length has over 10 bytes");
    const uint8_t byte = buffer_[used];
    length |= static_cast<uint64_t>(byte & 0x7f) << (7 * used);
    more = (byte & 0x80) != 0;
  }
  if (length > kMaxDelimitedMessageBytes) {
    return absl::DataLossError(absl::StrCat("a message claims ", length, " bytes; at most ",
                                            kMaxDelimitedMessageBytes, " are read"));
  }
  ASSIGN_OR_RETURN(const bool filled, Fill(used + length));
  if (!filled) return absl::DataLossError("the stream ended inside a message");
  std::string message = buffer_.substr(used, length);
  buffer_.erase(0, used + length);
  return message;
}

}  // namespace graft
