#pragma once

// Reads a data set row by row: JSON lines (one object a line), CSV (RFC 4180 with a header row;
// separated by semicolons or tabs where the header has them and no comma, or Excel's line "sep=;"
// before it says so) or plain text (each line a row of the one field kPlainTextField); each of them
// packed by gzip or not. It checks the encoding and the fields that are asked for, and nothing
// else: templates, lengths and tokens are the callers' business.
//
// Memory is bounded whatever the size of the file: about three times the longest row, of which none
// may be longer than kMaxRowBytes. JSON is read as Python's json module reads it: of a field given
// twice the last counts, NaN and Infinity are numbers.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

inline constexpr size_t kMaxRowBytes = 8 << 20;

// What begins with {" is JSON lines even as kText: people give such files any name.
enum class DataFormat { kAutomatic, kJsonLines, kCsv, kText };

inline constexpr char kPlainTextField[] = "text";

// By the file's name: .jsonl, .ndjson, .json; .csv, .tsv; .txt, .text; with .gz behind it, too.
// Else kAutomatic.
DataFormat FormatOfName(absl::string_view path);

// Which fields make a row: either source_field and target_field, or text_field alone.
struct DataFields {
  std::string source_field;
  std::string target_field;
  std::string text_field;
  std::string id_field = "id";  // need not be in the data; empty: not read
  // Beside them, what a template puts in: in JSON lines a string, a number (as it is spelled), true
  // or false, or a list of strings, which become lines.
  std::vector<std::string> template_fields;
  // Reads none of them: rows are only checked for what every row must be.
  bool check_only = false;
};

struct DataRow {
  int64_t line = 0;    // where the row begins in the file, from 1
  std::string source;  // the text, where text_field was asked for; empty with check_only
  std::vector<std::string>
      targets;     // at least one: the first trains, all score; none with text_field or check_only
  std::string id;  // empty: the row has none
  std::vector<std::string> values;  // of template_fields, in their order; none with check_only
};

// One thread at a time. Errors name the line, and the field where one is at fault; the caller adds
// which data set it is.
class DataReader {
 public:
  // Fills the buffer with bytes from `offset` and returns how many: fewer than asked for only at
  // the end.
  using ByteSource = std::function<absl::StatusOr<size_t>(int64_t offset, absl::Span<char> buffer)>;

  // Opens a file; blocks on the disk, like Next. kAutomatic goes by the name (FormatOfName),
  // else by the content: what begins with "{" is JSON lines. INVALID_ARGUMENT: `fields` are no
  // choice of the two, the file is something else (file_kinds.h, gunzip.h), the CSV header lacks a
  // field or has it twice, plain text is asked for another field than its own. Else as OpenFile of
  // common/base/file.h.
  static absl::StatusOr<DataReader> Open(const std::string& path, const DataFields& fields,
                                         DataFormat format = DataFormat::kAutomatic);
  // Reads what `source` gives; kAutomatic goes by the content.
  static absl::StatusOr<DataReader> FromSource(ByteSource source, const DataFields& fields,
                                               DataFormat format = DataFormat::kAutomatic);
  static absl::StatusOr<DataReader> FromString(std::string content, const DataFields& fields,
                                               DataFormat format = DataFormat::kAutomatic);

  DataReader(DataReader&&) noexcept;
  DataReader& operator=(DataReader&&) noexcept;
  ~DataReader();

  // Reads the next row into `row`, whose memory is used again. False at the end. After an error the
  // reader is of no more use, unless can_go_on. INVALID_ARGUMENT: the row is broken, too long or
  // not UTF-8, a field is missing or of the wrong type, or the data set has no rows at all. Else
  // what the byte source says.
  absl::StatusOr<bool> Next(DataRow* row);
  // The last error was about one row alone: Next gives the one behind it.
  bool can_go_on() const;

  // Rows so far, broken ones included.
  int64_t num_rows() const;
  DataFormat format() const;
  // The header of CSV, kPlainTextField, or the fields of the first row of JSON lines, in order;
  // those are empty before Next.
  const std::vector<std::string>& field_names() const;

 private:
  class Impl;
  explicit DataReader(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace graft
