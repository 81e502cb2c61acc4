#pragma once

// One row of CSV (RFC 4180), or of the same with another separator: its fields, and the way back.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace graft {

// Cuts `row` (without its line end) at separators that stand outside of double quotes; a quoted
// field gives two quotes for one. `fields` keeps its strings' memory. INVALID_ARGUMENT: a quote
// inside a field that does not begin with one, one that is not closed, or something between a
// closing quote and the separator ("field 3: …", counted from 1). An odd number of quotes always is
// one of these.
absl::Status ParseCsvRow(absl::string_view row, char separator, std::vector<std::string>* fields);

// By what the header separates its fields: a semicolon or a tab where it has only one of these and
// no comma, outside of double quotes; else a comma.
char SeparatorOf(absl::string_view header);

// One line of CSV as RFC 4180 has it, with its end. A spreadsheet takes a cell that begins with
// = + - @ (or a tab or a carriage return) for a formula: such a one, unless it is a number, gets an
// apostrophe before it.
std::string CsvLine(const std::vector<std::string>& cells);

}  // namespace graft
