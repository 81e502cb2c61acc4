#include "common/text/data_reader.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/csv_row.h"
#include "common/text/file_kinds.h"
#include "common/text/gunzip.h"
#include "common/text/json_row.h"
#include "common/text/row_splitter.h"

namespace graft {
namespace {

constexpr size_t kListedNames = 20;
// What is no JSON is taken for CSV where no name says better.
constexpr char kPlainTextAdvice[] =
    " (if it is plain text, name the file FILE.txt: each line is then a row)";

absl::Status CheckFields(const DataFields& fields) {
  if (fields.check_only) return absl::OkStatus();
  const bool pair = !fields.source_field.empty() && !fields.target_field.empty();
  const bool neither = fields.source_field.empty() && fields.target_field.empty();
  if (fields.text_field.empty() ? pair : neither) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "either source_field and target_field must be given, or text_field alone");
}

}  // namespace

DataFormat FormatOfName(absl::string_view path) {
  if (absl::EndsWithIgnoreCase(path, ".gz")) path.remove_suffix(3);
  for (const char* suffix : {".jsonl", ".ndjson", ".json"}) {
    if (absl::EndsWithIgnoreCase(path, suffix)) return DataFormat::kJsonLines;
  }
  for (const char* suffix : {".csv", ".tsv"}) {
    if (absl::EndsWithIgnoreCase(path, suffix)) return DataFormat::kCsv;
  }
  for (const char* suffix : {".txt", ".text"}) {
    if (absl::EndsWithIgnoreCase(path, suffix)) return DataFormat::kText;
  }
  return DataFormat::kAutomatic;
}

namespace {

// Does a JSON object begin here that has a name in it?
bool BeginsJsonObject(absl::string_view text) {
  return absl::ConsumePrefix(&text, "{") &&
         absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "\"");
}

// Looks at the beginning: passes over a byte order mark, finds the format, refuses what can be
// none.
absl::StatusOr<DataFormat> Sniff(RowSplitter* rows, DataFormat format) {
  ASSIGN_OR_RETURN(absl::string_view head, rows->Peek(kSniffedBytes));
  RETURN_IF_ERROR(CheckIsText(head));
  if (absl::ConsumePrefix(&head, "\xEF\xBB\xBF")) rows->Skip(3);
  if (format == DataFormat::kCsv) return format;
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(head);
  if (format == DataFormat::kText && !BeginsJsonObject(text)) return format;
  const bool json = absl::StartsWith(text, "{") || absl::StartsWith(text, "[");
  if (!json && format != DataFormat::kJsonLines) return DataFormat::kCsv;
  RETURN_IF_ERROR(CheckIsJsonLines(text));
  return DataFormat::kJsonLines;
}

// The names of a row's fields for a message.
template <typename Names>
std::string ListNames(const Names& names) {
  if (names.size() <= kListedNames) return absl::StrJoin(names, ", ");
  const Names first(names.begin(), names.begin() + kListedNames);
  return absl::StrCat(absl::StrJoin(first, ", "), " and ", names.size() - kListedNames, " more");
}

absl::string_view SeparatorName(char separator) {
  if (separator == ',') return "comma";
  if (separator == ';') return "semicolon";
  return separator == '\t' ? "tab" : "separator";
}

// How rows of a chat become what trains here; empty for other rows.
std::string ChatAdvice(absl::Span<const absl::string_view> names) {
  for (const absl::string_view name : {"messages", "conversations"}) {
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    const char* text = name == "messages" ? "content" : "value";
    return absl::StrCat("; a chat (\"", name,
                        "\") is trained on as source and target: jq -c '{document: .", name,
                        "[-2].", text, ", summary: .", name, "[-1].", text, "}' FILE > rows.jsonl");
  }
  return "";
}

absl::Status FieldError(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("field \"", field, "\" ", what));
}

// The line of `offset` in a row that begins at `row.line`: a quoted field may hold line ends.
absl::Status EncodingError(const RowSplitter::Row& row, size_t offset) {
  const absl::string_view before = row.text.substr(0, offset);
  const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
  return absl::InvalidArgumentError(
      absl::StrCat("line ", row.line + std::count(before.begin(), before.end(), '\n'),
                   ": invalid UTF-8 at byte ", offset - line_begin + 1, " of the line"));
}

// Lines that are passed over. In CSV spaces are a value.
bool IsBlank(absl::string_view text, DataFormat format) {
  if (format == DataFormat::kCsv) return text.empty();
  return absl::StripAsciiWhitespace(text).empty();
}

}  // namespace

class DataReader::Impl {
 public:
  Impl(ByteSource source, const DataFields& fields)
      : rows_(std::move(source)),
        wanted_(Wanteds(fields)),
        json_(wanted_),
        columns_(wanted_.size(), kNoColumn) {}

  absl::Status Start(DataFormat format) {
    guessed_ = format == DataFormat::kAutomatic;
    ASSIGN_OR_RETURN(format_, Sniff(&rows_, format));
    if (format_ == DataFormat::kText) return CheckTextFields();
    return format_ == DataFormat::kCsv ? ReadHeader() : absl::OkStatus();
  }

  absl::StatusOr<bool> Next(DataRow* row);
  bool can_go_on() const { return row_is_bad_; }
  int64_t num_rows() const { return row_count_; }
  DataFormat format() const { return format_; }
  const std::vector<std::string>& field_names() const { return header_; }

 private:
  enum Wanted : size_t { kSource, kTarget, kId, kFirstOfTemplate };
  static std::vector<std::string> Wanteds(const DataFields& fields) {
    if (fields.check_only) return {"", "", ""};
    std::vector<std::string> wanted = {
        fields.text_field.empty() ? fields.source_field : fields.text_field, fields.target_field,
        fields.id_field};
    wanted.insert(wanted.end(), fields.template_fields.begin(), fields.template_fields.end());
    return wanted;
  }
  static constexpr size_t kNoColumn = static_cast<size_t>(-1);

  // Is the field asked for, and must every row have it?
  bool Asked(size_t wanted) const { return !wanted_[wanted].empty(); }
  static bool Required(size_t wanted) { return wanted != kId; }
  // Two may be the same field; then the parser keeps it under the first.
  const JsonField& Field(size_t wanted) const {
    const auto first = std::find(wanted_.begin(), wanted_.end(), wanted_[wanted]);
    return json_.field(first - wanted_.begin());
  }

  bool MayBePlainText() const { return guessed_ && (header_.size() == 1 || !Asked(kTarget)); }
  absl::StatusOr<bool> NextText(RowSplitter::Row* text);
  absl::Status ReadHeader();
  absl::Status CheckTextFields();
  absl::Status ReadRow(absl::string_view text, DataRow* row);
  void ReadLine(absl::string_view text, DataRow* row) const;
  absl::Status ReadCsv(absl::string_view text, DataRow* row);
  absl::Status ReadJson(absl::string_view text, DataRow* row);
  absl::Status CheckJsonField(size_t wanted) const;
  absl::Status ReadJsonValue(size_t wanted, std::string* value) const;
  absl::Status MissingError(size_t wanted) const;

  RowSplitter rows_;
  const std::vector<std::string> wanted_;  // by Wanted; empty: not asked for; then the template's
  DataFormat format_ = DataFormat::kAutomatic;
  bool guessed_ = false;  // Nobody said what it is.
  JsonRowParser json_;
  std::vector<std::string> header_;  // JSON lines: the first row's fields; text: its one
  std::vector<size_t> columns_;      // by Wanted
  std::vector<std::string> csv_;
  char separator_ = ',';
  int64_t row_count_ = 0;
  bool row_is_bad_ = false;
};

// The next row that is not blank, checked for its encoding.
absl::StatusOr<bool> DataReader::Impl::NextText(RowSplitter::Row* text) {
  do {
    ASSIGN_OR_RETURN(const bool more, rows_.Next(format_ == DataFormat::kCsv, text));
    if (!more) return false;
  } while (IsBlank(text->text, format_));
  const size_t offset = FindInvalidUtf8(text->text);
  row_is_bad_ = offset != absl::string_view::npos;
  if (row_is_bad_) return EncodingError(*text, offset);
  return true;
}

absl::Status DataReader::Impl::ReadHeader() {
  RowSplitter::Row text;
  ASSIGN_OR_RETURN(bool more, NextText(&text));
  // Excel's own line before the header.
  const bool told = more && text.text.size() == 5 && absl::StartsWithIgnoreCase(text.text, "sep=");
  if (told) {
    separator_ = text.text.back();
    ASSIGN_OR_RETURN(more, NextText(&text));
  }
  if (!more) return absl::OkStatus();  // Next reports that there are no rows
  if (!told) separator_ = SeparatorOf(text.text);
  const std::string where = absl::StrCat("line ", text.line);
  RETURN_IF_ERROR(Annotate(ParseCsvRow(text.text, separator_, &header_), where));
  for (size_t wanted = 0; wanted < wanted_.size(); ++wanted) {
    const auto found = std::find(header_.begin(), header_.end(), wanted_[wanted]);
    if (!Asked(wanted) || (found == header_.end() && !Required(wanted))) continue;
    if (found == header_.end()) {
      return Annotate(FieldError(wanted_[wanted],
                                 absl::StrCat("is missing; the header has: ", ListNames(header_),
                                              MayBePlainText() ? kPlainTextAdvice : "")),
                      where);
    }
    if (std::count(found, header_.end(), *found) > 1) {
      return Annotate(FieldError(*found, "stands twice in the header"), where);
    }
    columns_[wanted] = found - header_.begin();
  }
  return absl::OkStatus();
}

absl::Status DataReader::Impl::CheckTextFields() {
  header_ = {kPlainTextField};
  for (size_t wanted = 0; wanted < wanted_.size(); ++wanted) {
    if (!Asked(wanted) || !Required(wanted) || wanted_[wanted] == kPlainTextField) continue;
    return FieldError(wanted_[wanted],
                      absl::StrCat("is missing; this is plain text, each line of which is a row "
                                   "with the one field ",
                                   kPlainTextField, " (text_field ", kPlainTextField,
                                   " trains on it; a table is named .csv or .tsv)"));
  }
  return absl::OkStatus();
}

void DataReader::Impl::ReadLine(absl::string_view text, DataRow* row) const {
  row->source.assign(text.data(), Asked(kSource) ? text.size() : 0);
  row->targets.clear();
  if (Asked(kTarget)) row->targets.emplace_back(text);
  row->id.clear();
  row->values.resize(wanted_.size() - kFirstOfTemplate);
  for (std::string& value : row->values) value.assign(text.data(), text.size());
}

absl::Status DataReader::Impl::ReadRow(absl::string_view text, DataRow* row) {
  if (format_ == DataFormat::kCsv) return ReadCsv(text, row);
  if (format_ == DataFormat::kJsonLines) return ReadJson(text, row);
  ReadLine(text, row);
  return absl::OkStatus();
}

absl::Status DataReader::Impl::ReadCsv(absl::string_view text, DataRow* row) {
  RETURN_IF_ERROR(ParseCsvRow(text, separator_, &csv_));
  if (csv_.size() != header_.size()) {
    const bool more = csv_.size() > header_.size();
    return absl::InvalidArgumentError(
        absl::StrCat("the row has ", csv_.size(), csv_.size() == 1 ? " field" : " fields",
                     ", but the header ", header_.size(),
                     more ? absl::StrCat(" (a field with a ", SeparatorName(separator_),
                                         " in it must stand in double quotes)")
                          : "",
                     more && header_.size() == 1 && guessed_ ? kPlainTextAdvice : ""));
  }
  row->source = Asked(kSource) ? csv_[columns_[kSource]] : "";
  row->targets.clear();
  if (Asked(kTarget)) row->targets.push_back(csv_[columns_[kTarget]]);
  row->id = columns_[kId] == kNoColumn ? "" : csv_[columns_[kId]];
  row->values.clear();
  for (size_t wanted = kFirstOfTemplate; wanted < wanted_.size(); ++wanted) {
    row->values.push_back(csv_[columns_[wanted]]);
  }
  return absl::OkStatus();
}

absl::Status DataReader::Impl::MissingError(size_t wanted) const {
  return FieldError(wanted_[wanted],
                    absl::StrCat("is missing; the row has: ", ListNames(json_.names()),
                                 ChatAdvice(json_.names())));
}

absl::Status DataReader::Impl::ReadJsonValue(size_t wanted, std::string* value) const {
  const JsonField& field = Field(wanted);
  if (field.type == JsonField::Type::kMissing) return MissingError(wanted);
  const bool truth = field.description == "true" || field.description == "false";
  if (field.type == JsonField::Type::kOther && !truth) {
    return FieldError(wanted_[wanted],
                      absl::StrCat("is ", field.description,
                                   "; in a prompt template it must be a string, a number, true, "
                                   "false or a list of strings"));
  }
  *value = truth ? field.description : absl::StrJoin(field.strings, "\n");
  return absl::OkStatus();
}

absl::Status DataReader::Impl::CheckJsonField(size_t wanted) const {
  const JsonField& field = Field(wanted);
  switch (field.type) {
    case JsonField::Type::kString:
      return absl::OkStatus();
    case JsonField::Type::kMissing:
      return MissingError(wanted);
    case JsonField::Type::kStringList:
      if (wanted != kTarget) break;
      if (!field.strings.empty()) return absl::OkStatus();
      return FieldError(wanted_[wanted], "is an empty list; it must hold at least one string");
    default:
      break;
  }
  return FieldError(wanted_[wanted],
                    absl::StrCat("is ", field.description, "; it must be a string",
                                 wanted == kTarget ? " or a list of strings" : ""));
}

absl::Status DataReader::Impl::ReadJson(absl::string_view text, DataRow* row) {
  RETURN_IF_ERROR(json_.Parse(text));
  for (const size_t wanted : {kSource, kTarget}) {
    if (Asked(wanted)) RETURN_IF_ERROR(CheckJsonField(wanted));
  }
  row->values.resize(wanted_.size() - kFirstOfTemplate);
  for (size_t i = 0; i < row->values.size(); ++i) {
    RETURN_IF_ERROR(ReadJsonValue(kFirstOfTemplate + i, &row->values[i]));
  }
  if (row_count_ == 1) {
    for (const absl::string_view name : json_.names()) header_.emplace_back(name);
  }
  row->source = Asked(kSource) ? Field(kSource).strings[0] : "";
  row->targets.clear();
  if (Asked(kTarget)) row->targets = Field(kTarget).strings;
  const JsonField& id = Field(kId);
  const bool has_id =
      Asked(kId) && (id.type == JsonField::Type::kString || id.type == JsonField::Type::kNumber);
  row->id = has_id ? id.strings[0] : "";
  return absl::OkStatus();
}

absl::StatusOr<bool> DataReader::Impl::Next(DataRow* row) {
  RowSplitter::Row text;
  row_is_bad_ = false;
  absl::StatusOr<bool> more = NextText(&text);
  row_count_ += row_is_bad_;
  if (!more.ok()) return more;
  if (!*more) {
    if (row_count_ > 0) return false;
    return absl::InvalidArgumentError("the data set is empty: it has no rows");
  }
  ++row_count_;
  row->line = text.line;
  const absl::Status status = ReadRow(text.text, row);
  row_is_bad_ = !status.ok();
  if (row_is_bad_) return Annotate(status, absl::StrCat("line ", text.line));
  return true;
}

DataReader::DataReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DataReader::DataReader(DataReader&&) noexcept = default;
DataReader& DataReader::operator=(DataReader&&) noexcept = default;
DataReader::~DataReader() = default;

absl::StatusOr<DataReader> DataReader::FromSource(ByteSource source, const DataFields& fields,
                                                  DataFormat format) {
  RETURN_IF_ERROR(CheckFields(fields));
  auto impl = std::make_unique<Impl>(Unpacked(std::move(source)), fields);
  RETURN_IF_ERROR(impl->Start(format));
  return DataReader(std::move(impl));
}

absl::StatusOr<DataReader> DataReader::Open(const std::string& path, const DataFields& fields,
                                            DataFormat format) {
  ASSIGN_OR_RETURN(UniqueFd opened, OpenFile(path, O_RDONLY));
  // std::function wants what it holds to be copyable.
  auto fd = std::make_shared<UniqueFd>(std::move(opened));
  ByteSource source = [fd, path](int64_t offset, absl::Span<char> buffer) {
    return ReadAt(fd->get(), offset, buffer, path);
  };
  if (format == DataFormat::kAutomatic) format = FormatOfName(path);
  return FromSource(std::move(source), fields, format);
}

absl::StatusOr<DataReader> DataReader::FromString(std::string content, const DataFields& fields,
                                                  DataFormat format) {
  ByteSource source = [content = std::move(content)](
                          int64_t offset, absl::Span<char> buffer) -> absl::StatusOr<size_t> {
    return absl::string_view(content).substr(offset).copy(buffer.data(), buffer.size());
  };
  return FromSource(std::move(source), fields, format);
}

absl::StatusOr<bool> DataReader::Next(DataRow* row) { return impl_->Next(row); }

bool DataReader::can_go_on() const { return impl_->can_go_on(); }
int64_t DataReader::num_rows() const { return impl_->num_rows(); }
DataFormat DataReader::format() const { return impl_->format(); }
const std::vector<std::string>& DataReader::field_names() const { return impl_->field_names(); }

}  // namespace graft
