#include "client/cli/listing.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/terminal.h"
#include "client/cli/usage.h"
#include "common/base/byte_text.h"
#include "common/text/csv_row.h"
#include "common/text/exact_number.h"
#include "google/protobuf/util/time_util.h"

namespace graft {
namespace {

const struct {
  const char* name;
  OutputFormat format;
} kFormats[] = {{"table", OutputFormat::kTable},
                {"json", OutputFormat::kJson},
                {"csv", OutputFormat::kCsv},
                {"markdown", OutputFormat::kMarkdown}};

std::vector<std::string> FormatNames() {
  std::vector<std::string> names;
  for (const auto& one : kFormats) names.emplace_back(one.name);
  return names;
}

std::vector<std::string> HeadingsOf(const std::vector<ListColumn>& columns) {
  std::vector<std::string> headings;
  for (const ListColumn& column : columns) {
    if (!column.heading.empty()) headings.push_back(column.heading);
  }
  return headings;
}

void PrintCsv(const std::vector<std::string>& cells) {
  const std::string line = CsvLine(cells);
  std::fwrite(line.data(), 1, line.size(), stdout);  // A text may have a NUL in it.
}

}  // namespace

void AddOutputFlag(CLI::App& command, std::string& output) {
  command
      .add_option("--output", output,
                  "How it is printed: csv has all of each value, markdown is a table, json is what "
                  "--json prints; default: table")
      ->transform(OneOf(FormatNames()));
}

absl::StatusOr<OutputFormat> FormatOf(const CliContext& context, const std::string& output) {
  OutputFormat format = context.json ? OutputFormat::kJson : OutputFormat::kTable;
  for (const auto& one : kFormats) {
    if (output == one.name) format = one.format;
  }
  if (context.json && format != OutputFormat::kJson) {
    return absl::InvalidArgumentError(
        absl::StrCat("--json and --output ", output, " are two things: give one of them"));
  }
  return format;
}

Cell CountCell(int64_t count) { return {FormatCount(count), absl::StrCat(count)}; }

Cell BytesCell(int64_t bytes) { return {FormatBytes(bytes), absl::StrCat(bytes)}; }

Cell SecondsCell(double seconds) { return {FormatSeconds(seconds), ExactNumber(seconds)}; }

Cell NumberCell(double value, int decimals) {
  return {FormatNumber(value, decimals), ExactNumber(value)};
}

Cell BoolCell(bool value) { return {value ? "yes" : "", value ? "true" : "false"}; }

Cell TimeCell(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return {FormatTime(time), ""};
  return {FormatTime(time), google::protobuf::util::TimeUtil::ToString(time)};
}

Cell TextCell(const std::string& text) { return {text.empty() ? "-" : text, text}; }

Cell CutCell(const std::string& text, size_t width) { return {OneLine(text, width), text}; }

Listing::Listing(OutputFormat format, const std::vector<ListColumn>& columns)
    : format_(format), columns_(columns), table_(HeadingsOf(columns)) {}

void Listing::Add(const google::protobuf::Message& item, const std::vector<Cell>& cells) {
  ++size_;
  if (format_ == OutputFormat::kJson) {
    std::puts(ToJson(item).c_str());
    return;
  }
  std::vector<std::string> texts;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (format_ == OutputFormat::kCsv) {
      texts.push_back(cells[i].raw.value_or(cells[i].shown));
    } else if (!columns_[i].heading.empty()) {
      texts.push_back(cells[i].shown);
    }
  }
  if (format_ != OutputFormat::kCsv) return table_.AddRow(std::move(texts));
  BeginCsv();
  PrintCsv(texts);
}

void Listing::BeginCsv() {
  if (begun_) return;
  begun_ = true;
  std::vector<std::string> names;
  for (const ListColumn& column : columns_) names.push_back(column.name);
  PrintCsv(names);
}

void Listing::End() {
  if (format_ == OutputFormat::kCsv) BeginCsv();
  if (format_ == OutputFormat::kTable) {
    std::fputs(table_.ToString(LineRoom(STDOUT_FILENO)).c_str(), stdout);
  }
  if (format_ == OutputFormat::kMarkdown) std::fputs(table_.ToMarkdown().c_str(), stdout);
}

}  // namespace graft
