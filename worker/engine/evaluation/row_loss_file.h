#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/data/example_source.h"
#include "worker/engine/data/row_stream.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// row_losses.jsonl and train_row_losses.jsonl: what each row of a data set adds to the loss;
// docs/FORMATS.md documents its fields. The file with the rows' texts is opened when this is made:
// a worker may drop it from its cache before there are losses. One thread.
class RowLossFile {
 public:
  // Of plain text no texts are told. Codes of RowStream.
  static absl::StatusOr<RowLossFile> Open(const DataSetFile& file, const DataConfig& config);

  // Writes the losses of `rows`, which are by index in `source`, all or none; beside them
  // those of the untuned model, where there are some. Called once. `pulse` beats with each row that
  // is read.
  absl::Status Write(const std::string& path, const ExampleSource& source,
                     const std::vector<RowLoss>& rows, const std::vector<RowLoss>& untuned,
                     Pulse& pulse);

 private:
  explicit RowLossFile(std::optional<RowStream> stream) : stream_(std::move(stream)) {}
  // The row of the file, which comes after those that were read; nullptr: it is not there.
  const DataRow* Find(int64_t row, Pulse& pulse);

  std::optional<RowStream> stream_;
  DataRow row_;
};

}  // namespace graft
