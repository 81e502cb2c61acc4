#include "common/text/row_splitter.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/csv_row.h"
#include "common/text/data_reader.h"

namespace graft {
namespace {

constexpr size_t kChunkBytes = 256 << 10;

}  // namespace

absl::Status RowSplitter::TooLong() const {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", line_, ": the row is longer than ", kMaxRowBytes, " bytes",
                   in_quotes_ ? " (a double quote in it is not closed)" : ""));
}

// Reads a chunk behind end_. False if there is none.
absl::StatusOr<bool> RowSplitter::Fill() {
  if (at_end_) return false;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    scanned_ -= begin_;
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() < end_ + kChunkBytes) {
    buffer_.resize(std::max(end_ + kChunkBytes, std::min(2 * end_, kMaxRowBytes + kChunkBytes)));
  }
  const absl::Span<char> space = absl::MakeSpan(buffer_).subspan(end_, kChunkBytes);
  ASSIGN_OR_RETURN(const size_t size, source_(offset_, space));
  at_end_ = size < space.size();
  offset_ += static_cast<int64_t>(size);
  end_ += size;
  return size > 0;
}

absl::StatusOr<absl::string_view> RowSplitter::Peek(size_t size) {
  while (end_ - begin_ < size) {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) break;
  }
  return absl::string_view(buffer_.data() + begin_, std::min(size, end_ - begin_));
}

// Moves scanned_ behind the line end that ends the row, if it is in the buffer, else to end_.
bool RowSplitter::FindRowEnd(bool quoted) {
  scanned_ = std::max(scanned_, begin_);
  while (scanned_ < end_) {
    const char* from = buffer_.data() + scanned_;
    const char* to = buffer_.data() + end_;
    const auto* line_end = static_cast<const char*>(std::memchr(from, '\n', to - from));
    const char* stop = line_end != nullptr ? line_end + 1 : to;
    if (quoted && std::count(from, stop, '"') % 2 == 1) in_quotes_ = !in_quotes_;
    scanned_ += stop - from;
    if (line_end == nullptr) return false;
    ++next_line_;
    if (!in_quotes_) return true;
  }
  return false;
}

absl::StatusOr<bool> RowSplitter::Next(bool quoted, Row* row) {
  line_ = next_line_;
  while (!FindRowEnd(quoted)) {
    if (end_ - begin_ > kMaxRowBytes + 2) return TooLong();  // 2: its line end
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (more) continue;
    if (begin_ == end_) return false;
    if (in_quotes_) {
      std::vector<std::string> fields;
      return Annotate(ParseCsvRow({buffer_.data() + begin_, end_ - begin_}, ',', &fields),
                      absl::StrCat("line ", line_));
    }
    break;
  }
  absl::string_view text(buffer_.data() + begin_, scanned_ - begin_);
  begin_ = scanned_;
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  if (text.size() > kMaxRowBytes) return TooLong();
  *row = {text, line_};
  return true;
}

}  // namespace graft
