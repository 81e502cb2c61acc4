#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/text/bpe.h"
#include "common/text/data_reader.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/gpt2/network.h"
#include "worker/engine/run_hooks.h"

namespace graft {

struct SummaryOptions {
  const BpeTokenizer* tokenizer = nullptr;
  DataConfig data;
  EvaluationConfig evaluation;
  // Told how many more texts there are. May be empty.
  std::function<void(int64_t)> on_texts;
};

// A text that the model made for a row.
struct Summary {
  std::string text;  // Valid UTF-8, without space at both ends and without special tokens.
  int64_t new_tokens = 0;
  bool ended = false;  // By <|endoftext|>, else by max_new_tokens.
  int64_t prompt_tokens = 0;
  int64_t source_tokens_cut = 0;
};

// Rows that texts are made for before the next ones are looked at: enough that rows of like length
// find each other. An evaluation that is left goes on between two such lots.
int64_t RowsAtOnce(const EvaluationConfig& evaluation);

// Will Summarise have room for a prompt, in a model of n_positions of which a soft prompt takes
// num_virtual_tokens? To be asked before any work. INVALID_ARGUMENT: no, naming
// evaluation.max_new_tokens; or codes of ExampleBuilder.
absl::Status CheckRoomForPrompts(const SummaryOptions& options, int64_t n_positions,
                                 int64_t num_virtual_tokens);

// The texts of each network (they are on one base) for every row, generation_batch_size of them at
// a time, whosever they are; `first_row` is the index of the first row in the evaluation (sampling
// depends on it). A prompt is cut to what its network has room for beside virtual tokens and
// max_new_tokens. Codes of ExampleBuilder and Generate.
absl::StatusOr<std::vector<std::vector<Summary>>> Summarise(
    std::span<const Gpt2Network* const> networks, const SummaryOptions& options,
    std::span<const DataRow> rows, int64_t first_row, StopToken& stop);

}  // namespace graft
