#include "client/cli/output.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/terminal.h"
#include "common/errors/status_details.h"
#include "google/protobuf/util/json_util.h"

namespace graft {
namespace {

constexpr size_t kBetween = 2;  // Spaces between columns.

bool IsContinuationByte(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// Within a word an underscore is only an underscore.
bool IsWithinWord(const std::string& text, size_t place) {
  return place > 0 && place + 1 < text.size() && absl::ascii_isalnum(text[place - 1]) &&
         absl::ascii_isalnum(text[place + 1]);
}

std::string MarkdownCell(const std::string& cell) {
  const std::string line = OneLine(cell, DisplayWidth(cell));
  std::string text;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    const bool markup = absl::StrContains("\\|*`~[]&$", c) || (c == '_' && !IsWithinWord(line, i));
    if (markup) text += '\\';
    text += c == '<' ? "&lt;" : std::string(1, c);
  }
  return text;
}

}  // namespace

bool IsUnreachable(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) ||
         (absl::IsUnavailable(status) && ReasonOf(status) != kReasonNoWorker);
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (IsUnreachable(status)) return kExitUnreachable;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    default:
      return kExitFailed;
  }
}

std::string ErrorText(const absl::Status& status) {
  std::string text = "graft: ";
  const auto violations = FieldViolationsOf(status);
  if (violations.empty()) absl::StrAppend(&text, status.message(), "\n");
  if (violations.size() > 1) absl::StrAppend(&text, "the request cannot work:\n");
  for (const auto& violation : violations) {
    absl::StrAppend(&text, violations.size() > 1 ? "  " : "", violation.field(), ": ",
                    violation.description(), "\n");
  }
  return Printable(text);
}

Table::Table(std::vector<std::string> header) {
  for (std::string& name : header) {
    Column& column = columns_.emplace_back();
    column.right_aligned = absl::EndsWith(name, ">") || absl::EndsWith(name, ">?");
    column.can_go = absl::EndsWith(name, "?");
    column.can_be_cut = absl::EndsWith(name, "~");
    name.erase(name.find_last_not_of(">?~") + 1);
  }
  AddRow(std::move(header));
}

void Table::AddRow(std::vector<std::string> cells) {
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i] = Printable(cells[i]);
    columns_[i].width = std::max(columns_[i].width, DisplayWidth(cells[i]));
  }
  rows_.push_back(std::move(cells));
}

// A column that is left out has the width 0.
void Table::Fit(size_t room, std::vector<Column>& columns) const {
  const auto least = [&] {
    size_t sum = 0;
    for (const Column& column : columns) sum += column.width == 0 ? 0 : column.least() + kBetween;
    return sum - kBetween;
  };
  for (size_t i = columns.size(); i-- > 0 && least() > room;) {
    if (columns[i].can_go) columns[i].width = 0;
  }
  size_t left = room - std::min(room, least());
  for (Column& column : columns) {
    const size_t wanted = column.width - column.least();
    column.width -= wanted - std::min(wanted, left);
    left -= std::min(wanted, left);
  }
}

std::string Table::ToString(size_t room) const {
  std::vector<Column> columns = columns_;
  Fit(room, columns);
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (columns[i].width == 0) continue;
      const std::string cell = OneLine(row[i], columns[i].width);
      const std::string padding(columns[i].width - DisplayWidth(cell), ' ');
      if (!line.empty()) line += std::string(kBetween, ' ');
      line += columns[i].right_aligned ? padding + cell : cell + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string Table::ToMarkdown() const {
  std::string text;
  for (size_t i = 0; i < rows_.size(); ++i) {
    for (const std::string& cell : rows_[i]) absl::StrAppend(&text, "| ", MarkdownCell(cell), " ");
    absl::StrAppend(&text, "|\n");
    if (i > 0) continue;
    for (const Column& column : columns_) {
      absl::StrAppend(&text, column.right_aligned ? "| ---: " : "| --- ");
    }
    absl::StrAppend(&text, "|\n");
  }
  return text;
}

std::string ToJson(const google::protobuf::Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.add_whitespace = pretty;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) return "{}";
  return json;
}

std::string OneFact(bool json, const std::string& key, const std::string& value,
                    const std::string& text) {
  return absl::StrCat(json ? nlohmann::json({{key, value}}).dump() : text, "\n");
}

std::string FormatCount(int64_t count) {
  const std::string digits = absl::StrCat(std::abs(count));
  std::string text = count < 0 ? "-" : "";
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string FormatSeconds(double seconds) {
  if (!(seconds >= 0)) return "-";
  if (seconds < 60) return absl::StrFormat("%.1fs", seconds);
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 3600) return absl::StrFormat("%dm%02ds", whole / 60, whole % 60);
  return absl::StrFormat("%dh%02dm", whole / 3600, whole / 60 % 60);
}

std::string FormatNumber(double value, int decimals) {
  if (std::isnan(value)) return "-";
  return absl::StrFormat("%.*f", decimals, value);
}

std::string FormatTime(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "-";
  const time_t seconds = time.seconds();
  tm local;
  localtime_r(&seconds, &local);
  char text[32];
  strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local);
  return text;
}

size_t DisplayWidth(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return !IsContinuationByte(byte); });
}

std::string OneLine(const std::string& text, size_t width) {
  const std::string mark = Printable("…");
  const std::string shown = Printable(text);
  const bool cut = DisplayWidth(shown) > width;
  const size_t room = cut ? width - std::min(width, DisplayWidth(mark)) : width;
  std::string line;
  size_t columns = 0;
  for (const char c : shown) {
    if (!IsContinuationByte(c) && columns++ == room) break;
    const bool control = static_cast<unsigned char>(c) < 0x20;
    line += c == '\n' ? ' ' : control ? '?' : c;
  }
  return cut ? line + mark.substr(0, width) : line;
}

}  // namespace graft
