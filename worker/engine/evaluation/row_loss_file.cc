#include "worker/engine/evaluation/row_loss_file.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/row_loss_file.h"

namespace graft {
namespace {

// Keeps the order in which fields are written.
using RowLossJson = nlohmann::ordered_json;

double MeanOf(const RowLoss& loss) { return loss.sum / static_cast<double>(loss.num_tokens); }

}  // namespace

absl::StatusOr<RowLossFile> RowLossFile::Open(const DataSetFile& file, const DataConfig& config) {
  if (!config.text_field.empty()) return RowLossFile(std::nullopt);
  ASSIGN_OR_RETURN(RowStream stream, RowStream::Open(file, config));
  return RowLossFile(std::move(stream));
}

const DataRow* RowLossFile::Find(int64_t row, Pulse& pulse) {
  while (stream_ && stream_->rows() <= row) {
    if (!stream_->Next(&row_).value_or(false)) stream_.reset();
    pulse.Beat();
  }
  return stream_ && stream_->rows() == row + 1 ? &row_ : nullptr;
}

absl::Status RowLossFile::Write(const std::string& path, const ExampleSource& source,
                                const std::vector<RowLoss>& rows,
                                const std::vector<RowLoss>& untuned, Pulse& pulse) {
  std::string lines;
  size_t other = 0;
  for (const RowLoss& loss : rows) {
    const int64_t row = source.Row(loss.index);
    RowLossJson line = {{"row", row}, {"line", source.Line(loss.index)}};
    const DataRow* const text = Find(row, pulse);
    if (text != nullptr && !text->id.empty()) {
      line["id"] = Shortened(text->id, kMaxRowLossTextBytes);
    }
    line["tokens"] = loss.num_tokens;
    line["loss"] = MeanOf(loss);
    while (other < untuned.size() && untuned[other].index < loss.index) ++other;
    if (other < untuned.size() && untuned[other].index == loss.index) {
      line["untuned_loss"] = MeanOf(untuned[other]);
    }
    if (text != nullptr) {
      line["source"] = Shortened(text->source, kMaxRowLossTextBytes);
      line["target"] = Shortened(text->targets[0], kMaxRowLossTextBytes);
    }
    lines += line.dump();
    lines += '\n';
  }
  return WriteFileAtomically(path, lines);
}

}  // namespace graft
