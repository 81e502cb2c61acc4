#pragma once

#include <cstdint>
#include <functional>
#include <memory>
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

// A network that is scored, and where what is found out about it goes.
struct ScoredNetwork {
  std::string adapter;  // Its name, where several are scored.
  Gpt2Network network;
  std::shared_ptr<const TokenFile> tokens;  // The data set's, cut for it.
  std::string predictions_path;             // Every row, one JSON object a line (docs/FORMATS.md).
  std::string row_losses_path;              // Likewise.
};

struct EvaluateDataSetOptions {
  EvaluateConfig config;
  DataSetFile data;
  const BpeTokenizer* tokenizer = nullptr;
  std::vector<ScoredNetwork> networks;              // On one base model; at least one.
  const Gpt2Network* untuned = nullptr;             // Scored too when not nullptr: the base model,
  std::shared_ptr<const TokenFile> untuned_tokens;  // with the tokens cut for it.
  std::function<void(const RowsEvent&)> on_rows;    // May be empty.
  // Told for each network once of the first sample_events rows, when all are scored. May be empty.
  std::function<void(const std::string& adapter, const std::vector<SampleTextEvent>&)> on_samples;
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
//
// Of several networks each has an event of its own, in their order. The losses are computed one
// network after the other and have the bits that they have alone; the texts of all are made in the
// same passes over the base, and the baselines once. EvaluationEvent::seconds is of all together.
// Errors as of the parts.
absl::StatusOr<std::vector<EvaluationEvent>> EvaluateDataSet(const EvaluateDataSetOptions& options,
                                                             StopToken& stop);

}  // namespace graft
