#pragma once

// Scores the rows of two files with graft's own ROUGE (common/text/rouge.h), the way evaluate jobs
// score their predictions.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/bootstrap.h"
#include "common/text/rouge.h"

namespace graft {

struct RougeFileOptions {
  std::string predictions_path;
  std::string references_path;
  // Fields of JSON lines; empty: "prediction" or "summary"; "references", "reference" or "summary".
  std::string prediction_field;
  std::string reference_field;
  std::vector<std::string> types = {"rouge1", "rouge2", "rougeL", "rougeLsum"};
  bool use_stemmer = true;
  // Splits each text into sentences (common/text/sentences.h) before rougeLsum looks at it.
  bool split_sentences = false;
  uint64_t seed = 42;  // of the intervals
};

struct RougeFileRow {
  int64_t index = 0;  // from 0
  int64_t line = 0;   // in the predictions, from 1
  std::string id;     // empty: none
  RougeScores scores;
};

struct RougeFileType {
  std::string name;
  BootstrapInterval precision;
  BootstrapInterval recall;
  BootstrapInterval f;
};

struct RougeFileReport {
  int64_t num_samples = 0;
  // Over the references, as in the fingerprint of an evaluate job.
  std::string samples_sha256;
  // Has any text more than one sentence? If not, rougeLsum is nothing but rougeL's other formula.
  bool any_sentences = false;
  std::vector<RougeFileType> types;  // in the order of the options
};

// Row i of the one file belongs to row i of the other; `on_row` (may be empty) is told of each as
// it is scored. Of several references the best F counts, for each type. INVALID_ARGUMENT: an
// unknown type, no rows, files of different numbers of rows or with different ids in a row, and all
// that SummaryReader refuses.
absl::StatusOr<RougeFileReport> ScoreRougeFiles(
    const RougeFileOptions& options, const std::function<void(const RougeFileRow&)>& on_row);

// The member of RougeScores for "rouge1", "rouge2", "rougeL", "rougeLsum"; nullptr for other names.
RougeScore RougeScores::*RougeTypeMember(const std::string& name);

// A table for people.
std::string RougeReportTable(const RougeFileReport& report);
// One line of JSON: a row's scores, as predictions.jsonl of an evaluate job has them.
std::string RougeRowJson(const RougeFileRow& row, const std::vector<std::string>& types);
// One line of JSON: {"aggregate": {…}}, with all that the numbers depend on.
std::string RougeAggregateJson(const RougeFileReport& report, const RougeFileOptions& options);

}  // namespace graft
