#include "worker/engine/evaluation/sample_text.h"

#include "absl/strings/str_cat.h"

namespace graft {
namespace {

constexpr size_t kMaxSampleBytes = 4096;

std::string Shorten(const std::string& text) {
  if (text.size() <= kMaxSampleBytes) return text;
  size_t end = kMaxSampleBytes;
  while ((text[end] & 0xC0) == 0x80) --end;  // Not within a character.
  return absl::StrCat(text.substr(0, end), "…");
}

}  // namespace

SampleTextEvent MakeSampleText(int64_t row_index, const DataRow& row,
                               const std::string& prediction) {
  return {row_index, Shorten(row.source), Shorten(row.targets[0]), Shorten(prediction)};
}

}  // namespace graft
