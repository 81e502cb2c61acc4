#include "client/cli/data_files.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/terminal.h"
#include "client/cli/upload_meter.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"
#include "common/text/data_problems.h"

namespace graft {
namespace {

DataFields FieldsOf(v1::DataSpec data) {
  ResolveFields(data);
  DataFields fields;
  fields.source_field = data.source_field();
  fields.target_field = data.target_field();
  fields.text_field = data.text_field();
  return fields;
}

// The same bytes are other rows in another format, which goes by the file's name.
std::string FormatMark(const std::string& path) {
  switch (FormatOfName(path)) {
    case DataFormat::kCsv:
      return "-csv";
    case DataFormat::kText:
      return "-txt";
    case DataFormat::kJsonLines:
    case DataFormat::kAutomatic:
      break;
  }
  return "";
}

}  // namespace

absl::StatusOr<std::string> NameOfFile(const std::string& path, size_t max_bytes,
                                       const std::string& flag) {
  std::string file = BaseName(path);
  if (absl::EndsWithIgnoreCase(file, ".gz")) file.resize(file.size() - 3);
  const size_t dot = file.rfind('.');
  std::string name;
  for (const char c : dot == 0 ? file : file.substr(0, dot)) {
    const bool allowed = absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
    if (allowed || !absl::EndsWith(name, "-")) name += allowed ? c : '-';
  }
  name.erase(0, name.find_first_not_of(".-"));
  name.resize(std::min(name.size(), max_bytes));
  name.erase(name.find_last_not_of('-') + 1);
  if (!name.empty()) return name;
  return absl::InvalidArgumentError(absl::StrCat(
      flag, ": no data set can be named after \"", file,
      "\" (names are letters, digits, ., _ and -); graft datasets upload takes a --name"));
}

bool IsPath(const std::string& value) { return absl::StrContains(value, '/'); }

absl::StatusOr<bool> IsDataFile(const std::string& value, const std::string& flag) {
  if (FileExists(value)) {
    RETURN_IF_ERROR(NameOfFile(value, kMaxNameBytes, flag).status());
    return true;
  }
  if (!IsPath(value)) return false;
  return absl::InvalidArgumentError(absl::StrCat(flag, ": there is no file ", value));
}

absl::Status CheckRows(const std::string& path, const v1::DataSpec& data, int64_t max_rows,
                       const std::string& flag) {
  ASSIGN_OR_RETURN(const DataProblems problems, FindProblems(DataReader::Open(path, FieldsOf(data)),
                                                             max_rows, [] { return false; }));
  Violations violations;
  for (const std::string& line : problems.Lines()) {
    violations.Add(flag, absl::StrCat(path, ": ", line));
  }
  return violations.ToStatus();
}

absl::StatusOr<FileDataset> DatasetOfFile(const std::string& path, const std::string& flag) {
  FileDataset dataset;
  ASSIGN_OR_RETURN(dataset.sha256, Sha256HexOfFile(path));
  const std::string ending = absl::StrCat(FormatMark(path), "-", dataset.sha256.substr(0, 8));
  ASSIGN_OR_RETURN(const std::string name, NameOfFile(path, kMaxNameBytes - ending.size(), flag));
  dataset.name = absl::StrCat(name, ending);
  return dataset;
}

absl::Status UploadDataFile(CliContext& context, const std::string& path,
                            const FileDataset& dataset) {
  RETURN_IF_ERROR(
      context.client->UploadDataset(dataset.name, path, UploadMeter(context), dataset.sha256)
          .status());
  std::fprintf(stderr, "graft: uploaded %s as %s\n", Printable(path).c_str(), dataset.name.c_str());
  return absl::OkStatus();
}

}  // namespace graft
