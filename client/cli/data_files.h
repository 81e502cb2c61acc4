#pragma once

// Data of a job that is a file of this machine.

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// A data set's name of at most `max_bytes` made of a file's: without its ending (and .gz behind
// it), and with a "-" for each run of characters that names do not have. INVALID_ARGUMENT, naming
// `flag`: nothing is left.
absl::StatusOr<std::string> NameOfFile(const std::string& path, size_t max_bytes,
                                       const std::string& flag);

// What looks like a path of this machine: no name has a slash.
bool IsPath(const std::string& value);

// Whether `value`, given for the data set that `flag` asks for, is a file here; else it names one
// of the server's. INVALID_ARGUMENT, naming `flag`: a path of no file, or one whose name has
// nothing that a data set's may have.
absl::StatusOr<bool> IsDataFile(const std::string& value, const std::string& flag);

// Reads the rows of a file (no more than the first `max_rows`, which are all that a job takes; 0:
// all) as the engine will, with the fields that `data` asks for. INVALID_ARGUMENT: each problem is
// a violation of `flag` that names the file and the line (DataProblems); else codes of DataReader.
absl::Status CheckRows(const std::string& path, const v1::DataSpec& data, int64_t max_rows,
                       const std::string& flag);

// The data set that a file is uploaded as.
struct FileDataset {
  // "my-articles-1a2b3c4d": the same for the same content. Of CSV and text "notes-csv-1a2b3c4d",
  // "notes-txt-1a2b3c4d": there the same bytes have other rows.
  std::string name;
  std::string sha256;  // Of the file.
};
// Its name is made of what names may hold of the file's, its format and the beginning of its hash.
// Codes of NameOfFile and common/base/file.h.
absl::StatusOr<FileDataset> DatasetOfFile(const std::string& path, const std::string& flag);

// Uploads it as that and says so.
absl::Status UploadDataFile(CliContext& context, const std::string& path,
                            const FileDataset& dataset);

}  // namespace graft
