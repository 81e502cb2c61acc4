// A data set, as JSON lines, CSV, plain text and what it looks like; for each choice of fields.

#include "common/base/utf8.h"
#include "common/text/data_reader.h"
#include "tests/fuzz/fuzz.h"

namespace graft {
namespace {

void ReadAll(std::string_view content, const DataFields& fields, DataFormat format) {
  absl::StatusOr<DataReader> reader = DataReader::FromString(std::string(content), fields, format);
  if (!reader.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(reader.status()));
    return;
  }
  DataRow row;
  int64_t last = 0;
  for (;;) {
    const absl::StatusOr<bool> more = reader->Next(&row);
    FUZZ_CHECK(more.ok() || absl::IsInvalidArgument(more.status()));
    if (!more.ok() || !*more) return;
    FUZZ_CHECK(row.line > last);
    last = row.line;
    FUZZ_CHECK(fields.target_field.empty() == row.targets.empty());
    FUZZ_CHECK(FindInvalidUtf8(row.source) == absl::string_view::npos);
    for (const std::string& target : row.targets) {
      FUZZ_CHECK(FindInvalidUtf8(target) == absl::string_view::npos);
    }
  }
}

}  // namespace
}  // namespace graft

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  graft::DataFields pair, text, check;
  pair.source_field = "document";
  pair.target_field = "summary";
  text.text_field = "text";
  check.check_only = true;
  for (const graft::DataFields& fields : {pair, text, check}) {
    for (const auto format : {graft::DataFormat::kAutomatic, graft::DataFormat::kJsonLines,
                              graft::DataFormat::kCsv, graft::DataFormat::kText}) {
      graft::ReadAll(graft::TextOf(data, size), fields, format);
    }
  }
  return 0;
}
