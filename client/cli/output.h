#pragma once

// How the CLI speaks: tables, numbers, JSON, errors.

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"

namespace graft {

// Exit codes that scripts can use.
enum ExitCode {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitUnreachable = 4,
  kExitCancelled = 5,  // What was waited for.
  kExitNotInTime = 6,  // What was waited for is not done.
};
// INVALID_ARGUMENT is usage, NOT_FOUND not found, UNAVAILABLE and DEADLINE_EXCEEDED unreachable;
// every other failure is failed.
ExitCode ExitCodeOf(const absl::Status& status);
// No answer came. A server without a worker for a text has answered.
bool IsUnreachable(const absl::Status& status);

// For standard error: the message, or a line for each field that was wrong.
std::string ErrorText(const absl::Status& status);

// Rows under a header, columns as wide as their widest cell. What a header's name ends in is not
// printed: '>' aligns the column to the right; where a line has no room, columns with '?' are left
// out, the last ones first, and then those with '~' cut, to 12 at least.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  // As many cells as the header has.
  void AddRow(std::vector<std::string> cells);
  // `room`: columns that a line may take, where that is possible.
  std::string ToString(size_t room = std::numeric_limits<size_t>::max()) const;
  // All columns, whole, as a table of Markdown in which nothing is markup.
  std::string ToMarkdown() const;

 private:
  struct Column {
    bool right_aligned = false;
    bool can_go = false;
    bool can_be_cut = false;
    size_t width = 0;
    size_t least() const { return can_be_cut ? std::min<size_t>(width, 12) : width; }
  };
  void Fit(size_t room, std::vector<Column>& columns) const;

  std::vector<Column> columns_;  // Their widths are those of all cells.
  std::vector<std::vector<std::string>> rows_;
};

// One line of proto JSON with the field names of the .proto, defaults left out; with `pretty`,
// indented.
std::string ToJson(const google::protobuf::Message& message, bool pretty = false);

// What a command says that leaves one thing behind, or none: `{"KEY":"VALUE"}` with `json`, else
// `text`; with a line end.
std::string OneFact(bool json, const std::string& key, const std::string& value,
                    const std::string& text);

std::string FormatCount(int64_t count);                // "1,234,567"
std::string FormatSeconds(double seconds);             // "4.2s", "1m23s", "2h05m"
std::string FormatNumber(double value, int decimals);  // Fixed; "-" for NaN.
std::string FormatTime(
    const google::protobuf::Timestamp& time);  // Local, "2026-01-31 12:00:00"; "-" when unset.
// As many columns as a terminal shows for UTF-8 text without wide characters.
size_t DisplayWidth(const std::string& text);
// The text on one line, as this locale shows it (Printable), cut to `width` columns with "…" (or
// "...").
std::string OneLine(const std::string& text, size_t width);

}  // namespace graft
