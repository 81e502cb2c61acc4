#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/bpe.h"
#include "worker/engine/data/row_stream.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/evaluation/evaluation_record.h"
#include "worker/engine/evaluation/row_counter.h"
#include "worker/engine/evaluation/summaries.h"
#include "worker/engine/training/trainer.h"

namespace graft {

// What a fine-tune job's evaluations are made with. Everything pointed to outlives the evaluator.
struct TrainingEvaluatorOptions {
  const BpeTokenizer* tokenizer = nullptr;
  const ExampleSource* validation = nullptr;
  int64_t batch_size = 8;  // Rows a batch of the loss pass.
  DataConfig data;
  EvaluationConfig evaluation;
  DataSetFile validation_file;           // With the texts of the rows; unused with plain text.
  std::vector<int64_t> validation_rows;  // Rows there that count, ascending.
  std::function<void(Stage)> on_stage;   // Told of EVALUATING before and TRAINING after.
  // What an evaluation that goes on must have begun with: hashes of spec, base and data; and how it
  // is computed.
  std::string fingerprint;
  Execution execution;
};

// Scores the validation set during training: loss and perplexity over all rows, and, with
// max_samples, ROUGE of texts that are really generated for the first rows. The rows' texts are
// read when it is made: a worker may drop the file from its cache while the job runs. One that is
// left goes on with what it kept, to the same bits; what is of no use for that is made anew.
class TrainingEvaluator : public Evaluator {
 public:
  // Codes of RowStream. The pulse of `stop` beats with each row.
  static absl::StatusOr<std::unique_ptr<TrainingEvaluator>> Create(TrainingEvaluatorOptions options,
                                                                   EventSink& sink,
                                                                   StopToken& stop);
  ~TrainingEvaluator() override;

  // Codes of ComputeValidationLoss and Summarise.
  absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network& network, int64_t step,
                                           EvaluationKeeper& keeper, StopToken& stop) override;

 private:
  // One evaluation, of one step.
  struct Run {
    const Gpt2Network& network;
    const int64_t step;
    EvaluationKeeper& keeper;
    StopToken& stop;
    RowCounter counter;
    EvaluationRecord record;
    std::vector<Summary> texts;  // Of the first rows.
    EvaluationEvent event;
  };

  TrainingEvaluator(TrainingEvaluatorOptions options, std::vector<DataRow> rows, EventSink& sink);
  // With what an evaluation of this step left.
  Run Begin(const Gpt2Network& network, int64_t step, EvaluationKeeper& keeper,
            StopToken& stop) const;
  absl::Status GoOn(Run& run);
  absl::Status AddLoss(Run& run) const;
  absl::Status AddTexts(Run& run) const;
  void Score(Run& run);
  static absl::Status Keep(Run& run, bool now);

  TrainingEvaluatorOptions options_;
  const std::vector<DataRow> rows_;  // To generate for.
  EventSink& sink_;
};

}  // namespace graft
