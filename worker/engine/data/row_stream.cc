#include "worker/engine/data/row_stream.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

constexpr size_t kEllipsisBytes = 3;  // What Shortened adds.

}  // namespace

absl::Status DataError(const absl::Status& status, absl::string_view label) {
  absl::Status annotated = Annotate(status, label);
  return absl::IsInvalidArgument(annotated)
             ? WithFailureClass(std::move(annotated), FailureClass::kData)
             : annotated;
}

absl::StatusOr<RowStream> RowStream::Open(const DataSetFile& file, const DataConfig& config) {
  DataFields fields;
  if (config.text_field.empty()) {
    fields.source_field = config.source_field;
    fields.target_field = config.target_field;
  } else {
    fields.text_field = config.text_field;
  }
  absl::StatusOr<DataReader> reader = DataReader::Open(file.path, fields);
  if (!reader.ok()) return DataError(reader.status(), file.label());
  return RowStream(*std::move(reader), file.label());
}

absl::StatusOr<bool> RowStream::Next(DataRow* row) {
  absl::StatusOr<bool> have = reader_.Next(row);
  if (!have.ok()) return DataError(have.status(), label_);
  rows_ += *have;
  return have;
}

absl::StatusOr<std::vector<DataRow>> ReadRows(const DataSetFile& file, const DataConfig& config,
                                              const std::vector<int64_t>& rows, int64_t max_count,
                                              Pulse& pulse) {
  size_t count = rows.size();
  if (max_count >= 0) count = std::min(count, static_cast<size_t>(max_count));
  ASSIGN_OR_RETURN(RowStream stream, RowStream::Open(file, config));
  std::vector<DataRow> picked;
  DataRow row;
  while (picked.size() < count) {
    ASSIGN_OR_RETURN(const bool have, stream.Next(&row));
    if (!have) {
      return absl::DataLossError(
          absl::StrCat(file.label(), ": has fewer rows than when the job began"));
    }
    pulse.Beat();
    if (stream.rows() - 1 == rows[picked.size()]) picked.push_back(row);
  }
  return picked;
}

void DescribeRows(const DataSetFile& file, const DataConfig& config,
                  std::vector<DivergentRow>& rows, Pulse& pulse) {
  std::map<int64_t, DivergentRow*> wanted;
  for (DivergentRow& row : rows) wanted[row.line] = &row;
  absl::StatusOr<RowStream> stream = RowStream::Open(file, config);
  DataRow row;
  while (stream.ok() && !wanted.empty() && stream->Next(&row).value_or(false)) {
    pulse.Beat();
    const auto found = wanted.find(row.line);
    if (found == wanted.end()) continue;
    found->second->row = stream->rows() - 1;
    found->second->id = Shortened(row.id, kMaxDivergentBytes - kEllipsisBytes);
    found->second->source = Shortened(row.source, kMaxDivergentBytes - kEllipsisBytes);
    wanted.erase(found);
  }
}

}  // namespace graft
