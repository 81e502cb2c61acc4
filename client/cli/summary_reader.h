#pragma once

// Reads the files that `graft rouge` scores: summaries, one a row; and the prompts of `graft
// generate`.
//
// A file whose name ends in .jsonl, .ndjson or .json is JSON lines: the summary stands in a field,
// blank lines are passed over. Any other file is plain text: every line is a summary, an empty one
// too. Memory is bounded by the longest row (kMaxRowBytes).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace graft {

struct SummaryRow {
  int64_t line = 0;                // where the row begins in the file, from 1
  std::vector<std::string> texts;  // at least one; more than one only in a list of references
  std::string id;                  // the field `id` of JSON lines; empty: none
};

// One thread at a time. Every error begins with the path, and with the line where there is one.
class SummaryReader {
 public:
  struct Options {
    // Fields of JSON lines, of which the first that the first row has is read in all rows.
    std::vector<std::string> fields;
    // May a field be a list of texts?
    bool allow_lists = false;
  };

  // INVALID_ARGUMENT: the file is UTF-16 or a JSON list. Else as OpenFile of common/base/file.h.
  static absl::StatusOr<SummaryReader> Open(const std::string& path, Options options);
  SummaryReader(SummaryReader&&) noexcept;
  SummaryReader& operator=(SummaryReader&&) noexcept;
  ~SummaryReader();

  // False at the end. INVALID_ARGUMENT: bad UTF-8, a row that is too long, broken JSON, a field
  // that is missing or of the wrong type. After an error the reader is of no more use.
  absl::StatusOr<bool> Next(SummaryRow* row);

  const std::string& path() const;

 private:
  class Impl;
  explicit SummaryReader(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace graft
