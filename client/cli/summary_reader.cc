#include "client/cli/summary_reader.h"

#include <fcntl.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/data_reader.h"
#include "common/text/file_kinds.h"
#include "common/text/gunzip.h"
#include "common/text/json_row.h"
#include "common/text/row_splitter.h"

namespace graft {
namespace {

constexpr char kIdField[] = "id";

std::vector<std::string> WithId(std::vector<std::string> fields) {
  fields.emplace_back(kIdField);
  return fields;
}

}  // namespace

class SummaryReader::Impl {
 public:
  Impl(UniqueFd fd, std::string path, Options options)
      : path_(std::move(path)),
        options_(std::move(options)),
        json_lines_(FormatOfName(path_) == DataFormat::kJsonLines),
        fd_(std::move(fd)),
        rows_(Unpacked([this](int64_t offset, absl::Span<char> buffer) {
          return ReadAt(fd_.get(), offset, buffer, path_);
        })),
        json_(WithId(options_.fields)) {}

  absl::Status Start() {
    absl::StatusOr<absl::string_view> head = rows_.Peek(kSniffedBytes);
    if (!head.ok()) return Annotate(head.status(), path_);
    RETURN_IF_ERROR(Annotate(CheckIsText(*head), path_));
    if (absl::ConsumePrefix(&*head, "\xEF\xBB\xBF")) rows_.Skip(3);
    return json_lines_ ? Annotate(CheckIsJsonLines(*head), path_) : absl::OkStatus();
  }

  absl::StatusOr<bool> Next(SummaryRow* row) {
    RowSplitter::Row text;
    do {
      const absl::StatusOr<bool> more = rows_.Next(/*quoted=*/false, &text);
      if (!more.ok()) return Annotate(more.status(), path_);
      if (!*more) return false;
    } while (json_lines_ && absl::StripAsciiWhitespace(text.text).empty());
    const size_t invalid = FindInvalidUtf8(text.text);
    if (invalid != absl::string_view::npos) {
      return Error(text.line, absl::StrCat("invalid UTF-8 at byte ", invalid + 1, " of the line"));
    }
    row->line = text.line;
    if (json_lines_) {
      if (const absl::Status status = ReadJson(text.text, row); !status.ok()) {
        return Error(text.line, status.message());
      }
    } else {
      row->texts = {std::string(text.text)};
      row->id.clear();
    }
    return true;
  }

  const std::string& path() const { return path_; }

 private:
  absl::Status Error(int64_t line, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": line ", line, ": ", what));
  }

  absl::Status ReadJson(absl::string_view text, SummaryRow* row) {
    RETURN_IF_ERROR(json_.Parse(text));
    if (chosen_ == kNone) RETURN_IF_ERROR(ChooseField());
    const JsonField& field = json_.field(chosen_);
    const std::string name = absl::StrCat("field \"", options_.fields[chosen_], "\" ");
    const bool list = field.type == JsonField::Type::kStringList;
    if (field.type == JsonField::Type::kMissing) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, "is missing; the row has: ", absl::StrJoin(json_.names(), ", ")));
    }
    if (list && options_.allow_lists && field.strings.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, "is an empty list; it must hold at least one string"));
    }
    if (field.type != JsonField::Type::kString && !(list && options_.allow_lists)) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, "is ", list ? "a list" : field.description, "; it must be a string",
                       options_.allow_lists ? " or a list of strings" : ""));
    }
    row->texts = field.strings;
    const JsonField& id = json_.field(options_.fields.size());
    const bool has_id = id.type == JsonField::Type::kString || id.type == JsonField::Type::kNumber;
    row->id = has_id ? id.strings[0] : "";
    return absl::OkStatus();
  }

  absl::Status ChooseField() {
    for (size_t i = 0; i < options_.fields.size(); ++i) {
      if (json_.field(i).type == JsonField::Type::kMissing) continue;
      chosen_ = i;
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("no field ", absl::StrJoin(options_.fields, " or "),
                     "; the row has: ", absl::StrJoin(json_.names(), ", ")));
  }

  static constexpr size_t kNone = static_cast<size_t>(-1);

  const std::string path_;
  const Options options_;
  const bool json_lines_;
  const UniqueFd fd_;
  RowSplitter rows_;
  JsonRowParser json_;
  size_t chosen_ = kNone;  // in options_.fields
};

SummaryReader::SummaryReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SummaryReader::SummaryReader(SummaryReader&&) noexcept = default;
SummaryReader& SummaryReader::operator=(SummaryReader&&) noexcept = default;
SummaryReader::~SummaryReader() = default;

absl::StatusOr<SummaryReader> SummaryReader::Open(const std::string& path, Options options) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  auto impl = std::make_unique<Impl>(std::move(fd), path, std::move(options));
  RETURN_IF_ERROR(impl->Start());
  return SummaryReader(std::move(impl));
}

absl::StatusOr<bool> SummaryReader::Next(SummaryRow* row) { return impl_->Next(row); }
const std::string& SummaryReader::path() const { return impl_->path(); }

}  // namespace graft
