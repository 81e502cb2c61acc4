#include "common/text/file_kinds.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace graft {
namespace {

struct FileKind {
  absl::string_view magic;
  const char* name;
  const char* advice;
};

// With their lengths, as some have a zero byte.
template <size_t N>
constexpr absl::string_view Bytes(const char (&text)[N]) {
  return {text, N - 1};
}

constexpr char kToUtf8[] = "make it UTF-8: iconv -f UTF-16 -t UTF-8 FILE > utf8-FILE";

constexpr FileKind kFileKinds[] = {
    {Bytes("\x28\xB5\x2F\xFD"), "packed by zstd", "unpack it: zstd -d FILE"},
    {Bytes("\xFD"
           "7zXZ\0"),
     "packed by xz", "unpack it: xz -d FILE"},
    {Bytes("BZh91AY&SY"), "packed by bzip2", "unpack it: bzip2 -d FILE"},
    {Bytes("7z\xBC\xAF\x27\x1C"), "a 7z archive", "unpack it: 7z x FILE"},
    {Bytes("PK\x03\x04"), "a zip archive, or a workbook (.xlsx)",
     "unpack it (unzip FILE), or save the sheet as CSV UTF-8"},
    {Bytes("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"), "an old workbook (.xls)",
     "save the sheet as CSV UTF-8"},
    {Bytes("PAR1\x15"), "Parquet",
     "make rows of it: python3 -c 'import pandas; pandas.read_parquet(\"FILE\").to_json("
     "\"rows.jsonl\", orient=\"records\", lines=True, force_ascii=False)'"},
    {Bytes("ARROW1\0\0"), "Arrow (Feather)",
     "make rows of it: python3 -c 'import pandas; pandas.read_feather(\"FILE\").to_json("
     "\"rows.jsonl\", orient=\"records\", lines=True, force_ascii=False)'"},
    {Bytes("\xFF\xFF\xFF\xFF"), "Arrow (a stream, as the datasets library keeps it)",
     "make rows of it: python3 -c 'import datasets; datasets.Dataset.from_file(\"FILE\").to_json("
     "\"rows.jsonl\", force_ascii=False)'"},
    {Bytes("SQLite format 3\0"), "an SQLite database", "write a table of it as CSV"},
    {Bytes("%PDF-"), "a PDF", "a data set is JSON lines or CSV"},
    {Bytes("version https://git-lfs.github.com/spec/"), "a Git LFS pointer, not the file",
     "fetch that: git lfs pull"},
    {Bytes("<!DOCTYPE "), "a web page, not the file", "download the file itself (its raw link)"},
    {Bytes("<!doctype "), "a web page, not the file", "download the file itself (its raw link)"},
    {Bytes("<html"), "a web page, not the file", "download the file itself (its raw link)"},
    {Bytes("\xFF\xFE\0\0"), "UTF-32", "make it UTF-8: iconv -f UTF-32 -t UTF-8 FILE > utf8-FILE"},
    {Bytes("\xFF\xFE"), "UTF-16", kToUtf8},
    {Bytes("\xFE\xFF"), "UTF-16", kToUtf8},
};

absl::Status Is(absl::string_view what, absl::string_view advice) {
  return absl::InvalidArgumentError(absl::StrCat("line 1: the file is ", what, "; ", advice));
}

}  // namespace

absl::Status CheckIsText(absl::string_view head) {
  for (const FileKind& kind : kFileKinds) {
    if (absl::StartsWith(head, kind.magic)) return Is(kind.name, kind.advice);
  }
  // Elsewhere it is a row's fault.
  if (!absl::StrContains(head.substr(0, 4), '\0')) return absl::OkStatus();
  return Is("no text: a zero byte is among its first four",
            "if it is UTF-16 without a mark, make it UTF-8: iconv -f UTF-16LE -t UTF-8 FILE > "
            "utf8-FILE");
}

absl::Status CheckIsJsonLines(absl::string_view head) {
  head = absl::StripLeadingAsciiWhitespace(head);
  if (absl::StartsWith(head, "[")) {
    return Is("a JSON list",
              "it must be JSON lines, one object a line: jq -c '.[]' FILE > "
              "rows.jsonl");
  }
  const absl::string_view line =
      absl::StripTrailingAsciiWhitespace(head.substr(0, head.find('\n')));
  if (line != "{" || !absl::StrContains(head, '\n')) return absl::OkStatus();
  return Is("JSON with objects over several lines",
            "it must be JSON lines, one object a line: jq -c . FILE > rows.jsonl (jq -c '.NAME[]' "
            "where the rows are a list in it)");
}

}  // namespace graft
