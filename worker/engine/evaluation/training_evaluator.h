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
#include "worker/engine/evaluation/row_counter.h"
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
};

// Scores the validation set during training: loss and perplexity over all rows, and, with
// max_samples, ROUGE of texts that are really generated for the first rows. The rows' texts are
// read when it is made: a worker may drop the file from its cache while the job runs.
class TrainingEvaluator : public Evaluator {
 public:
  // Codes of RowStream. The pulse of `stop` beats with each row.
  static absl::StatusOr<std::unique_ptr<TrainingEvaluator>> Create(TrainingEvaluatorOptions options,
                                                                   EventSink& sink,
                                                                   StopToken& stop);
  ~TrainingEvaluator() override;

  // Codes of ComputeValidationLoss and Summarise.
  absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network& network, int64_t step,
                                           StopToken& stop) override;

 private:
  TrainingEvaluator(TrainingEvaluatorOptions options, std::vector<DataRow> rows, EventSink& sink);
  absl::Status Generate(const Gpt2Network& network, int64_t step, RowCounter& counter,
                        StopToken& stop, EvaluationEvent* event);

  TrainingEvaluatorOptions options_;
  const std::vector<DataRow> rows_;  // To generate for.
  EventSink& sink_;
};

}  // namespace graft
