#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "worker/engine/evaluation/summaries.h"
#include "worker/engine/run_hooks.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {

// What an evaluation has done so far, as a checkpoint of it: the sums of its losses, and the texts
// of the rows that it generated for. Scores are made again from the texts.
//
// It is a file of JSON: a line with all but the texts, then a line for each row, in order. One that
// was cut, or is no JSON any more, is DATA_LOSS.
struct EvaluationSums {
  std::string fingerprint;  // What makes it one of this evaluation: hashes of spec, base and data.
  Execution execution;
  LossSum loss;
  LossSum untuned_loss;
  int64_t rows = 0;  // That have their texts.
  // Of the adapters after the first, in an evaluation of several.
  std::vector<LossSum> more_losses;
};

// Keeps the record of the evaluation that runs. Of the texts it holds those in memory that came
// since it was saved last. One thread.
class EvaluationRecord {
 public:
  // A new one.
  explicit EvaluationRecord(EvaluationSums sums) : sums_(std::move(sums)) {}
  // One that was saved. NOT_FOUND: none is there. FAILED_PRECONDITION: of another evaluation than
  // `fingerprint`. Its texts are to be read first.
  static absl::StatusOr<EvaluationRecord> Open(const std::string& path,
                                               const std::string& fingerprint);

  EvaluationSums& sums() { return sums_; }
  // The texts of the next row that was done before this began, one for each network; to be called
  // sums().rows times, before the first Add.
  absl::StatusOr<std::vector<Summary>> ReadRow();
  // One more row is done.
  void Add(const std::vector<const Summary*>& texts);

  // Writes all to the file, which appears whole or not at all and is returned by its name.
  absl::StatusOr<CheckpointFile> Save(const std::string& path, Pulse& pulse);

 private:
  absl::Status ReadHeader(const std::string& path);
  absl::StatusOr<std::string> NextLine();

  EvaluationSums sums_;
  // What was saved last: its rows begin at rows_begin_. Stays readable when it is removed.
  UniqueFd saved_;
  int64_t rows_begin_ = 0;
  std::string pending_;  // Lines of the rows since then.
  // Reading.
  int64_t position_ = 0;
  std::string buffer_;
  int64_t rows_read_ = 0;
};

// What of a record decides how the evaluation goes on, before anything is computed.
absl::StatusOr<Execution> ReadEvaluationExecution(const std::string& path);

}  // namespace graft
