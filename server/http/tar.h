#pragma once

// Several files as one body: tar (POSIX ustar), as `tar` writes and reads it.

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

// What stands before a file's bytes. INVALID_ARGUMENT: the path has more bytes than a header holds.
absl::StatusOr<std::string> TarHeader(absl::string_view path, int64_t size_bytes);
// Zeros that stand behind them, and at the end of all.
std::string TarPadding(int64_t size_bytes);
std::string TarEnd();

// Reads one as it comes.
class TarReader {
 public:
  // A file begins. "./" at the front of its path is left out.
  using OnFile = std::function<void(const std::string& path, int64_t size_bytes)>;
  using OnData = std::function<void(absl::string_view data)>;
  TarReader(OnFile on_file, OnData on_data)
      : on_file_(std::move(on_file)), on_data_(std::move(on_data)) {}

  // INVALID_ARGUMENT: no tar, or an entry that is no file and no folder, or whose path a plain
  // header does not hold.
  absl::Status Read(absl::string_view bytes);
  // INVALID_ARGUMENT: it ends within a file, or before its end.
  absl::Status Finish() const;

 private:
  absl::Status ReadHeader();

  const OnFile on_file_;
  const OnData on_data_;
  std::string header_;     // What has come of one.
  std::string extension_;  // Of the next header (POSIX pax).
  int64_t left_ = 0;       // Bytes of the present entry.
  int64_t padding_ = 0;
  enum class Entry { kFile, kExtension, kOther } entry_ = Entry::kOther;
  bool ended_ = false;
};

}  // namespace graft
