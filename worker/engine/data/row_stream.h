#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/data_reader.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// A data set as a job is given it.
struct DataSetFile {
  std::string path;    // Its name tells the format (FormatOfName); empty: there is none.
  std::string sha256;  // Of its bytes; empty: computed where it is needed.
  std::string name;    // For errors; empty: the path.
  const std::string& label() const { return name.empty() ? path : name; }
};

// A job's fields of a data set, row after row. Like DataReader, but errors name the data set and
// what is wrong with the data is marked FailureClass kData. One thread.
class RowStream {
 public:
  static absl::StatusOr<RowStream> Open(const DataSetFile& file, const DataConfig& config);

  // False at the end. `row` is reused.
  absl::StatusOr<bool> Next(DataRow* row);
  // Rows given so far.
  int64_t rows() const { return rows_; }

 private:
  RowStream(DataReader reader, std::string label)
      : reader_(std::move(reader)), label_(std::move(label)) {}

  DataReader reader_;
  std::string label_;
  int64_t rows_ = 0;
};

// The texts of the given rows (from 0, ascending), of the first max_count of them (-1: all). Reads
// the file up to the last one; `pulse` beats with each.
absl::StatusOr<std::vector<DataRow>> ReadRows(const DataSetFile& file, const DataConfig& config,
                                              const std::vector<int64_t>& rows, int64_t max_count,
                                              Pulse& pulse);

// Fills in what the file says of the rows that begin at these lines: which row it is, its id and
// how its source begins. Reads the file up to the last of them; `pulse` beats with each row. A row
// that is not found stays as it is: the file may be gone by the time that somebody asks.
void DescribeRows(const DataSetFile& file, const DataConfig& config,
                  std::vector<DivergentRow>& rows, Pulse& pulse);

// `status` with the data set's name in front; what is wrong with the data is marked.
absl::Status DataError(const absl::Status& status, absl::string_view label);

}  // namespace graft
