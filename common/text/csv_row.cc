#include "common/text/csv_row.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

// What a spreadsheet would compute.
bool IsFormula(const std::string& cell) {
  double number = 0;
  return !cell.empty() && absl::StrContains("=+-@\t\r", cell[0]) &&
         !absl::SimpleAtod(cell, &number);
}

// Reads a field from behind its opening quote; `row` then begins behind the closing one.
absl::Status ReadQuoted(absl::string_view* row, std::string* field) {
  while (true) {
    const size_t quote = row->find('"');
    if (quote == absl::string_view::npos) {
      return absl::InvalidArgumentError(
          "the double quote that opens it is not closed (one inside a field is written twice)");
    }
    field->append(row->data(), quote);
    row->remove_prefix(quote + 1);
    if (row->empty() || row->front() != '"') return absl::OkStatus();
    field->push_back('"');
    row->remove_prefix(1);
  }
}

absl::Status ReadField(absl::string_view* row, char separator, std::string* field) {
  field->clear();
  if (!row->empty() && row->front() == '"') {
    row->remove_prefix(1);
    RETURN_IF_ERROR(ReadQuoted(row, field));
    if (row->empty() || row->front() == separator) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "text stands behind the closing double quote (one inside a field is written twice)");
  }
  const size_t size = std::min(row->find(separator), row->size());
  field->assign(row->data(), size);
  row->remove_prefix(size);
  if (field->find('"') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "a double quote stands inside it, but does not begin it: put the whole field in double "
      "quotes "
      "and write each one inside it twice, as in \"a 5\"\" disk\"");
}

}  // namespace

absl::Status ParseCsvRow(absl::string_view row, char separator, std::vector<std::string>* fields) {
  for (size_t count = 1;; ++count) {
    if (fields->size() < count) fields->emplace_back();
    const absl::Status status = ReadField(&row, separator, &(*fields)[count - 1]);
    if (!status.ok()) return Annotate(status, absl::StrCat("field ", count));
    if (row.empty()) {
      fields->resize(count);
      return absl::OkStatus();
    }
    row.remove_prefix(1);  // the separator
  }
}

char SeparatorOf(absl::string_view header) {
  bool quoted = false;
  bool comma = false;
  bool semicolon = false;
  bool tab = false;
  for (const char c : header) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    comma |= c == ',';
    semicolon |= c == ';';
    tab |= c == '\t';
  }
  if (comma || semicolon == tab) return ',';
  return semicolon ? ';' : '\t';
}

std::string CsvLine(const std::vector<std::string>& cells) {
  std::vector<std::string> quoted;
  for (const std::string& cell : cells) {
    const std::string text = IsFormula(cell) ? absl::StrCat("'", cell) : cell;
    const bool plain = text.find_first_of(",\"\r\n") == std::string::npos;
    quoted.push_back(plain ? text
                           : absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\""));
  }
  return absl::StrCat(absl::StrJoin(quoted, ","), "\r\n");
}

}  // namespace graft
