#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace graft {

// How often what an evaluation has done is wanted.
inline constexpr absl::Duration kEvaluationSaveInterval = absl::Minutes(1);

// Time between two saves that are wanted every so often: longer where one takes so long that saving
// would be more than 2 % of all.
absl::Duration IntervalOfSaves(absl::Duration wanted, absl::Duration save_time);

// Of the checkpoints {step}/ in `directory`, keeps the newest `keep_last` (at least one) up to
// `step`, and `spared` wherever it is. Those of later steps are of a run that went further; the one
// that calls replaces them when it comes there. Codes of common/base/file.h.
absl::Status RemoveOldCheckpoints(const std::string& directory, int64_t step, int64_t keep_last,
                                  const std::string& spared);

// The file of a checkpoint that has what the evaluation of its step has done so far. Its name says
// how many rows that are, so that no file changes under whoever reads it.
std::string EvaluationFileName(int64_t rows);
// The path of the one with the most rows; empty: none is there.
std::string FindEvaluationFile(const std::string& checkpoint);

}  // namespace graft
