#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/file.h"
#include "common/text/data_reader.h"
#include "common/text/rouge.h"

namespace graft {

// A text and its scores against the row's references.
struct ScoredText {
  std::string text;
  RougeScores scores;
};

// One row of predictions.jsonl; docs/FORMATS.md documents its fields.
struct Prediction {
  int64_t index = 0;  // From 0, in the order of the data set.
  const DataRow* row = nullptr;
  ScoredText prediction;
  int64_t new_tokens = 0;
  bool ended = false;
  int64_t prompt_tokens = 0;
  int64_t source_tokens_cut = 0;
  std::optional<ScoredText> lead3;
  std::optional<ScoredText> oracle;
  std::optional<ScoredText> untuned;
};

// The line without its newline.
std::string PredictionJson(const Prediction& prediction);

// Writes predictions.jsonl whole or not at all. One thread.
class PredictionWriter {
 public:
  static absl::StatusOr<PredictionWriter> Create(const std::string& path);
  absl::Status Append(const Prediction& prediction);
  absl::Status Commit();

 private:
  explicit PredictionWriter(AtomicFile file) : file_(std::move(file)) {}
  AtomicFile file_;
  std::string buffer_;
};

}  // namespace graft
