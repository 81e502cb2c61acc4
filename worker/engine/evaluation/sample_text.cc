#include "worker/engine/evaluation/sample_text.h"

#include "common/base/utf8.h"

namespace graft {
namespace {

constexpr size_t kMaxSampleBytes = 4096;

}  // namespace

SampleTextEvent MakeSampleText(int64_t row_index, const DataRow& row,
                               const std::string& prediction) {
  return {row_index, Shortened(row.source, kMaxSampleBytes),
          Shortened(row.targets[0], kMaxSampleBytes), Shortened(prediction, kMaxSampleBytes)};
}

}  // namespace graft
