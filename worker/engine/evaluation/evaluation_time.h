#pragma once

// What an evaluation during training will take, found out by doing a little of one.

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/text/bpe.h"
#include "worker/engine/data/row_stream.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/gpt2/network.h"
#include "worker/engine/training/trainer.h"

namespace graft {

// Everything pointed to outlives the call.
struct EvaluationSample {
  const BpeTokenizer* tokenizer = nullptr;
  const ExampleSource* validation = nullptr;
  int64_t batch_size = 8;     // Rows a batch of the loss pass.
  int64_t num_loss_rows = 8;  // That are timed: a batch, or fewer.
  DataConfig data;
  EvaluationConfig evaluation;
  // The first ones that texts are generated for, a batch or fewer; at least one, or none.
  std::vector<DataRow> rows;
  int64_t num_texts = 0;  // Of a whole evaluation.
};

struct EvaluationTime {
  double seconds = 0;  // Of a whole evaluation.
  // Of the tensors at their most; what texts of max_new_tokens need is there from their beginning.
  int64_t peak_bytes = 0;
};

// The loss of some rows, evenly spaced; the time grows with the tokens. One batch of texts of a few
// tokens: every further one of max_new_tokens takes as long as the last ones did. Of fewer texts
// than a batch the prompts take their share, and a step of all takes what one alone takes and, for
// each further one, what that made it slower. A text that ends by itself makes an evaluation
// shorter than that. ROUGE is not counted: thousands of texts are scored in a second. Codes of
// ComputeValidationLoss and Summarise.
absl::StatusOr<EvaluationTime> MeasureEvaluation(const Gpt2Network& network,
                                                 const EvaluationSample& sample, StopToken& stop,
                                                 Clock& clock = Clock::Real());

}  // namespace graft
