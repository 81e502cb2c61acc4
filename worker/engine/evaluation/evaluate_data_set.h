#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/bpe.h"
#include "worker/engine/data/row_stream.h"
#include "worker/engine/data/token_file.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/evaluation/evaluation_record.h"
#include "worker/engine/gpt2/network.h"
#include "worker/engine/run_hooks.h"

namespace graft {

struct EvaluateDataSetOptions {
  EvaluateConfig config;
  DataSetFile data;
  const BpeTokenizer* tokenizer = nullptr;
  const TokenFile* tokens = nullptr;          // Of `data`, for the network.
  const Gpt2Network* untuned = nullptr;       // Scored too when not nullptr: the base model,
  const TokenFile* untuned_tokens = nullptr;  // with the tokens cut for it.
  std::string predictions_path;  // Every row, one JSON object a line (docs/FORMATS.md).
  std::string row_losses_path;   // Likewise.
  std::function<void(const RowsEvent&)> on_rows;  // May be empty.
  // Told once of the first sample_events rows, when all are scored. May be empty.
  std::function<void(const std::vector<SampleTextEvent>&)> on_samples;
  // What is done already, and is not done again; kept up to date. Required.
  EvaluationRecord* record = nullptr;
  // Asked to save the record wherever it is whole: after each batch of a loss, and each RowsAtOnce
  // of texts; `now` when the evaluation is to be paused. May be empty.
  std::function<absl::Status(bool now)> save;
};

// A whole evaluate job: loss and perplexity over all rows, texts generated for the first
// max_samples of them, their ROUGE with intervals, and the baselines that are asked for, under
// eval/…, lead3/…, oracle/… and untuned/…. Memory for some rows only, whatever the data set's size.
// One that is left and goes on with its record has the bits of one that was not.
// Errors as of the parts.
absl::StatusOr<EvaluationEvent> EvaluateDataSet(const Gpt2Network& network,
                                                const EvaluateDataSetOptions& options,
                                                StopToken& stop);

}  // namespace graft
