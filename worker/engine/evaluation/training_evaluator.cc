#include "worker/engine/evaluation/training_evaluator.h"

#include <cmath>
#include <utility>

#include "common/base/status_macros.h"
#include "common/text/rouge_table.h"
#include "common/text/samples_hash.h"
#include "worker/engine/evaluation/fingerprint.h"
#include "worker/engine/evaluation/sample_text.h"
#include "worker/engine/evaluation/summaries.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {

absl::StatusOr<std::unique_ptr<TrainingEvaluator>> TrainingEvaluator::Create(
    TrainingEvaluatorOptions options, EventSink& sink, StopToken& stop) {
  std::vector<DataRow> rows;
  if (options.evaluation.max_samples != 0 && !options.validation_rows.empty()) {
    ASSIGN_OR_RETURN(rows, ReadRows(options.validation_file, options.data, options.validation_rows,
                                    options.evaluation.max_samples, stop.pulse()));
  }
  return std::unique_ptr<TrainingEvaluator>(
      new TrainingEvaluator(std::move(options), std::move(rows), sink));
}

TrainingEvaluator::TrainingEvaluator(TrainingEvaluatorOptions options, std::vector<DataRow> rows,
                                     EventSink& sink)
    : options_(std::move(options)), rows_(std::move(rows)), sink_(sink) {}

TrainingEvaluator::~TrainingEvaluator() = default;

absl::StatusOr<EvaluationEvent> TrainingEvaluator::Evaluate(const Gpt2Network& network,
                                                            int64_t step, StopToken& stop) {
  if (options_.on_stage) options_.on_stage(Stage::kEvaluating);
  EvaluationEvent event;
  const int64_t loss_rows = options_.validation->size();
  RowCounter counter(loss_rows + static_cast<int64_t>(rows_.size()),
                     [this](const RowsEvent& rows) { sink_.OnRows(rows); });
  counter.BeginPass(loss_rows);
  ASSIGN_OR_RETURN(const ValidationLoss loss,
                   ComputeValidationLoss(network, *options_.validation, options_.batch_size, stop,
                                         [&](int64_t texts) { counter.Add(texts); }));
  event.values["eval/loss"] = loss.loss;
  event.values["eval/perplexity"] = std::exp(loss.loss);
  event.num_loss_tokens = loss.num_tokens;
  if (!rows_.empty()) RETURN_IF_ERROR(Generate(network, step, counter, stop, &event));
  if (options_.on_stage) options_.on_stage(Stage::kTraining);
  return event;
}

absl::Status TrainingEvaluator::Generate(const Gpt2Network& network, int64_t step,
                                         RowCounter& counter, StopToken& stop,
                                         EvaluationEvent* event) {
  SetScoringSettings(options_.data, options_.evaluation, PrecisionName(network.dtype()), event);
  counter.BeginPass(static_cast<int64_t>(rows_.size()));
  const SummaryOptions options = {options_.tokenizer, options_.data, options_.evaluation,
                                  [&](int64_t texts) { counter.Add(texts); }};
  const Gpt2Network* const networks[] = {&network};
  ASSIGN_OR_RETURN(const auto of_networks, Summarise(networks, options, rows_, 0, stop));
  const std::vector<Summary>& summaries = of_networks[0];
  RougeTable table;
  SamplesHash hash;
  std::vector<SampleTextEvent> texts;
  for (size_t i = 0; i < rows_.size(); ++i) {
    stop.pulse().Beat();
    table.Add(ScoreRouge(rows_[i].targets, summaries[i].text, {options_.evaluation.use_stemmer}));
    hash.Add(rows_[i].targets);
    event->truncated_sources += summaries[i].source_tokens_cut > 0;
    if (static_cast<int64_t>(i) < options_.evaluation.sample_events) {
      texts.push_back(MakeSampleText(options_.validation_rows[i], rows_[i], summaries[i].text));
    }
  }
  table.Summarise("eval/", &event->values);
  event->num_samples = table.size();
  event->samples_sha256 = hash.Hex();
  if (!texts.empty()) sink_.OnSamples(step, texts);
  return absl::OkStatus();
}

}  // namespace graft
