#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "common/text/bpe.h"
#include "common/text/example_builder.h"
#include "worker/engine/data/row_stream.h"
#include "worker/engine/data/token_file.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

struct TokeniseOptions {
  DataConfig config;
  int64_t max_total_tokens = 0;
  int64_t max_rows = 0;  // 0: all.
  int threads = 1;
  // Rows (from 0) that count; empty: all.
  std::function<bool(int64_t)> keep_row;
};

// Streams the rows of `file` through the tokenizer into `writer`, in order, and returns what it
// found; the caller commits. Codes as OpenTokenised of data_set.h.
absl::StatusOr<TokenCounts> Tokenise(const DataSetFile& file, const BpeTokenizer& tokenizer,
                                     const TokeniseOptions& options, TokenFileWriter& writer,
                                     StopToken& stop);

// Rows of a data set, of the first max_rows (0: all), which are read through once: what stands
// behind them is no business of the job.
absl::StatusOr<int64_t> CountRows(const DataSetFile& file, const DataConfig& config,
                                  int64_t max_rows, StopToken& stop);

}  // namespace graft
