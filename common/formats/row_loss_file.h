#pragma once

// row_losses.jsonl and train_row_losses.jsonl, which an engine writes and the server reads:
// docs/FORMATS.md.

#include <cstddef>
#include <cstdint>

namespace graft {

inline constexpr char kRowLossFile[] = "row_losses.jsonl";
inline constexpr char kTrainRowLossFile[] = "train_row_losses.jsonl";
inline constexpr int64_t kMaxRowLosses = 10'000;     // Rows of a file.
inline constexpr size_t kMaxRowLossTextBytes = 200;  // Of id, source and target each, before "…".

}  // namespace graft
