#pragma once

// Cuts a stream of bytes into the rows of a text file, in bounded memory.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

// One thread at a time.
class RowSplitter {
 public:
  using ByteSource = std::function<absl::StatusOr<size_t>(int64_t offset, absl::Span<char> buffer)>;

  // A row, without its line end (LF or CRLF), which the last one need not have.
  struct Row {
    absl::string_view text;  // valid until the next call
    int64_t line;            // of its beginning, from 1
  };

  explicit RowSplitter(ByteSource source) : source_(std::move(source)) {}

  // The first bytes, at most `size`, of which nothing is used up. Only before the first row.
  absl::StatusOr<absl::string_view> Peek(size_t size);
  // Passes over the first bytes: a byte order mark. Only before the first row.
  void Skip(size_t size) { begin_ += size; }

  // The next row, false at the end. With `quoted`, line ends between double quotes belong to the
  // row (CSV). INVALID_ARGUMENT: a row is longer than kMaxRowBytes, or quotes are still open at the
  // end. Else what the source says.
  absl::StatusOr<bool> Next(bool quoted, Row* row);

 private:
  absl::StatusOr<bool> Fill();
  bool FindRowEnd(bool quoted);
  absl::Status TooLong() const;

  ByteSource source_;
  std::vector<char> buffer_;
  size_t begin_ = 0;        // of what is not given out yet
  size_t scanned_ = 0;      // up to here no end of the row at `begin_` was found
  size_t end_ = 0;          // of what was read
  bool in_quotes_ = false;  // at scanned_
  bool at_end_ = false;     // the source has no more
  int64_t offset_ = 0;      // of end_ in the source
  int64_t line_ = 1;        // of begin_
  int64_t next_line_ = 1;   // of scanned_
};

}  // namespace graft
