#include "common/text/gunzip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr size_t kPackedBytes = 128 << 10;
constexpr int kGzipOnly = 16 + MAX_WBITS;

class Unpacker {
 public:
  Unpacker(RowSplitter::ByteSource source, int64_t max_bytes)
      : source_(std::move(source)), max_bytes_(max_bytes), packed_(kPackedBytes) {}
  ~Unpacker() { inflateEnd(&stream_); }
  Unpacker(const Unpacker&) = delete;

  absl::StatusOr<size_t> Read(absl::Span<char> buffer) {
    if (offset_ == 0) {
      RETURN_IF_ERROR(Fill());
      packed_file_ =
          stream_.avail_in >= 2 && stream_.next_in[0] == 0x1F && stream_.next_in[1] == 0x8B;
    }
    return packed_file_ ? Unpack(buffer) : Pass(buffer);
  }

 private:
  absl::StatusOr<size_t> Pass(absl::Span<char> buffer) {
    const size_t known = std::min<size_t>(stream_.avail_in, buffer.size());
    std::memcpy(buffer.data(), stream_.next_in, known);
    stream_.next_in += known;
    stream_.avail_in -= static_cast<uInt>(known);
    if (known == buffer.size()) return known;
    ASSIGN_OR_RETURN(const size_t more, source_(offset_, buffer.subspan(known)));
    offset_ += static_cast<int64_t>(more);
    return known + more;
  }

  absl::StatusOr<size_t> Unpack(absl::Span<char> buffer) {
    size_t filled = 0;
    while (filled < buffer.size()) {
      if (stream_.avail_in == 0) RETURN_IF_ERROR(Fill());
      if (stream_.avail_in == 0) {
        if (in_member_) return Error("ends in the middle of the packed data: it was cut off");
        break;
      }
      if (!in_member_ && SkipsPadding()) continue;
      if (!in_member_) RETURN_IF_ERROR(BeginMember());
      ASSIGN_OR_RETURN(const size_t count, Inflate(buffer.subspan(filled)));
      filled += count;
      unpacked_bytes_ += static_cast<int64_t>(count);
      if (unpacked_bytes_ > max_bytes_) {
        return absl::InvalidArgumentError(
            absl::StrCat("the gzip file unpacks to more than ", max_bytes_, " bytes"));
      }
    }
    return filled;
  }

  // Some write zeros behind the last member, to fill a block.
  bool SkipsPadding() {
    if (members_ == 0 || *stream_.next_in != 0) return false;
    ++stream_.next_in;
    --stream_.avail_in;
    return true;
  }

  absl::Status Fill() {
    ASSIGN_OR_RETURN(const size_t count, source_(offset_, absl::MakeSpan(packed_)));
    offset_ += static_cast<int64_t>(count);
    stream_.next_in = reinterpret_cast<Bytef*>(packed_.data());
    stream_.avail_in = static_cast<uInt>(count);
    return absl::OkStatus();
  }

  absl::Status BeginMember() {
    const int begun = members_ == 0 ? inflateInit2(&stream_, kGzipOnly) : inflateReset(&stream_);
    if (begun != Z_OK) return absl::ResourceExhaustedError("no memory to unpack gzip");
    in_member_ = true;
    ++members_;
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Inflate(absl::Span<char> space) {
    const auto size =
        static_cast<uInt>(std::min<size_t>(space.size(), std::numeric_limits<uInt>::max()));
    stream_.next_out = reinterpret_cast<Bytef*>(space.data());
    stream_.avail_out = size;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      in_member_ = false;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      const std::string why = stream_.msg == nullptr ? "" : absl::StrCat(" (", stream_.msg, ")");
      return Error(members_ > 1 ? absl::StrCat("has something behind it that is no gzip", why)
                                : absl::StrCat("is broken", why));
    }
    return size - stream_.avail_out;
  }

  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("the gzip file ", what, ", at its byte ", offset_ - stream_.avail_in + 1));
  }

  const RowSplitter::ByteSource source_;
  const int64_t max_bytes_;
  std::vector<char> packed_;
  z_stream stream_ = {};  // Its input: what of packed_ is not used up.
  bool packed_file_ = false;
  bool in_member_ = false;
  int64_t members_ = 0;
  int64_t offset_ = 0;  // In the packed bytes, behind those that were read.
  int64_t unpacked_bytes_ = 0;
};

}  // namespace

RowSplitter::ByteSource Unpacked(RowSplitter::ByteSource source, int64_t max_bytes) {
  // std::function wants what it holds to be copyable.
  auto unpacker = std::make_shared<Unpacker>(std::move(source), max_bytes);
  return [unpacker](int64_t, absl::Span<char> buffer) { return unpacker->Read(buffer); };
}

}  // namespace graft
