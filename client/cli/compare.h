#pragma once

// Jobs side by side, and how sure their differences are.

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/bootstrap.h"
#include "graft/v1/adapter.pb.h"
#include "graft/v1/job.pb.h"

namespace graft {

// One row of a comparison: an evaluation, or a fine-tune job with its best validation.
struct ComparedJob {
  v1::Job job;
  // Of an evaluate job with an adapter that a job made: that job. Else null or the job itself.
  const v1::Job* training = nullptr;
  std::string label;  // "lora r=8", "untuned", or the display name.
};

// "rougeLsum" F of each row of predictions.jsonl, by row index. INVALID_ARGUMENT names the line
// that is none.
absl::StatusOr<std::map<int64_t, double>> ReadScores(const std::string& predictions_path,
                                                     const std::string& rouge_type);

// Table of all jobs: method, trained parameters, loss, ROUGE-1/2/L/Lsum with the 95 % interval of
// Lsum, training seconds, adapter size; rows for lead-3 and the oracle where an evaluation scored
// them. `room`: columns of a line.
std::string ComparisonTable(const std::vector<ComparedJob>& jobs,
                            const std::map<std::string, v1::Adapter>& adapters, size_t room);

// What a job scored above another, row by row.
struct PairedDifference {
  std::string job;  // Their names: jobs/…
  std::string to_job;
  std::string label;  // "lora - untuned".
  // Why there is none: "use_stemmer is false, not true". Else empty.
  std::string not_comparable;
  // Settings that are not the same and may be what is compared: "decoding is "greedy", not …".
  std::string note;
  int64_t rows = 0;
  BootstrapInterval interval;
};

// Every job after the first against the first. Only rows that both scored count. There is no
// difference between scores of different references, or of another kind (stemmer, sentences);
// decoding and token limits belong to what was scored, and are noted.
absl::StatusOr<std::vector<PairedDifference>> PairedDifferences(
    const std::vector<ComparedJob>& jobs, const std::vector<std::map<int64_t, double>>& scores);

// "lora - untuned: rougeLsum +0.512, 95 % interval +0.498 to +0.527 (120 rows)", a line each.
std::string DifferencesText(const std::vector<PairedDifference>& differences,
                            const std::string& rouge_type);

}  // namespace graft
