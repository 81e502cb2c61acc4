#pragma once

// Data sets as the engine uses them: tokenised once into a cache file (token_file.h), named by what
// the ids depend on, and then read at random.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/bpe.h"
#include "worker/engine/data/row_stream.h"
#include "worker/engine/data/token_file.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// What all data sets of a job share.
struct DataContext {
  const BpeTokenizer* tokenizer = nullptr;
  std::string tokenizer_sha256;  // Of the files that it was read from.
  std::string cache_directory;   // Made when missing; may be shared by engines.
  int64_t max_total_tokens = 0;  // n_positions less the soft prompt's vectors.
  int threads = 1;               // That tokenise.
};

// Tokenises `file`, or opens what an earlier call (of any engine on this cache) left. Pairs become
// one example a row; with config.text_field the rows are joined by <|endoftext|> and packed into
// blocks of max_total_tokens. Only the first max_rows rows count (0: all). Uses memory for some
// hundred rows whatever the file's size.
//   INVALID_ARGUMENT  the data are broken or empty, or plain text is too short for a label: data
//                     set, line and field are named (FailureClass kData); or the limits cannot fit
//                     (kConfig)
//   CANCELLED         by `stop`
//   codes of common/base/file.h
absl::StatusOr<std::shared_ptr<const TokenFile>> OpenTokenised(const DataSetFile& file,
                                                               const DataConfig& config,
                                                               int64_t max_rows,
                                                               const DataContext& context,
                                                               StopToken& stop);

struct TrainingData {
  std::shared_ptr<const ExampleSource> train;
  std::shared_ptr<const ExampleSource> validation;  // nullptr: none.
  TokenCounts train_counts;
  TokenCounts validation_counts;  // Of its own file; zero when held out.
  // Where the texts of the validation rows are, for generation: rows of validation_file, ascending.
  // Empty with plain text.
  DataSetFile validation_file;
  std::vector<int64_t> validation_rows;
};

// Both data sets of a fine-tune job. With config.validation_fraction, `validation` is not read: the
// last ceil(fraction * rows) of HeldOutOrder are held out, and of those the first
// max_validation_rows in the order of the file count. Codes as above.
absl::StatusOr<TrainingData> PrepareTrainingData(const DataSetFile& train,
                                                 const DataSetFile& validation,
                                                 const DataConfig& config, uint64_t seed,
                                                 const DataContext& context, StopToken& stop);

}  // namespace graft
