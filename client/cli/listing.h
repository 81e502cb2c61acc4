#pragma once

// Lists, as they are asked for: a table for people, JSON lines or CSV for programs, Markdown for
// what people write.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"

namespace graft {

enum class OutputFormat { kTable, kJson, kCsv, kMarkdown };

// --output, which says how a list is printed; --json says the same of json.
void AddOutputFlag(CLI::App& command, std::string& output);
// What --output and --json say together. INVALID_ARGUMENT: two things.
absl::StatusOr<OutputFormat> FormatOf(const CliContext& context, const std::string& output);

struct ListColumn {
  std::string heading;  // As a Table's; empty: the column is in CSV only.
  std::string name;     // In CSV: the field's, as JSON has it.
};

// One value of a row.
struct Cell {
  std::string shown;                    // To people.
  std::optional<std::string> raw = {};  // In CSV, where that is something else.
};
Cell CountCell(int64_t count);
Cell BytesCell(int64_t bytes);
Cell SecondsCell(double seconds);
Cell NumberCell(double value, int decimals);  // NaN: there is none.
Cell BoolCell(bool value);                    // "yes" or nothing; in CSV true or false.
// In CSV, of UTC, as JSON has it.
Cell TimeCell(const google::protobuf::Timestamp& time);
Cell TextCell(const std::string& text);               // People see "-" where there is nothing,
Cell CutCell(const std::string& text, size_t width);  // and on one line so many columns of it.

// Prints one list to standard output: JSON and CSV line by line as it comes, the others at its end.
class Listing {
 public:
  Listing(OutputFormat format, const std::vector<ListColumn>& columns);

  // `item` is what JSON prints; a cell for each column.
  void Add(const google::protobuf::Message& item, const std::vector<Cell>& cells);
  // Prints what is left; CSV and tables have their header without any item, too.
  void End();

  int64_t size() const { return size_; }

 private:
  void BeginCsv();

  const OutputFormat format_;
  const std::vector<ListColumn> columns_;
  Table table_;
  int64_t size_ = 0;
  bool begun_ = false;  // CSV has its header.
};

}  // namespace graft
