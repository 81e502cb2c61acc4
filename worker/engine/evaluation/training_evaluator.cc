#include "worker/engine/evaluation/training_evaluator.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/text/rouge_table.h"
#include "common/text/samples_hash.h"
#include "worker/engine/evaluation/fingerprint.h"
#include "worker/engine/evaluation/sample_text.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/checkpoints.h"
#include "worker/engine/training/resumption.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {
namespace {

// The record that was left at `path`, if an evaluation that begins with `fresh` can go on with it,
// and its texts.
absl::StatusOr<EvaluationRecord> ReadLeft(const std::string& path, const EvaluationSums& fresh,
                                          std::vector<Summary>* texts) {
  ASSIGN_OR_RETURN(EvaluationRecord record, EvaluationRecord::Open(path, fresh.fingerprint));
  ASSIGN_OR_RETURN(const std::string changed,
                   CheckSameExecution(record.sums().execution, fresh.execution, false));
  if (!changed.empty()) return absl::FailedPreconditionError(changed);
  std::vector<Summary> read;
  for (int64_t row = 0; row < record.sums().rows; ++row) {
    ASSIGN_OR_RETURN(std::vector<Summary> of_networks, record.ReadRow());
    if (of_networks.size() != 1) return absl::DataLossError("has other texts than it needs");
    read.push_back(std::move(of_networks[0]));
  }
  *texts = std::move(read);
  return record;
}

}  // namespace

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

TrainingEvaluator::Run TrainingEvaluator::Begin(const Gpt2Network& network, int64_t step,
                                                EvaluationKeeper& keeper, StopToken& stop) const {
  EvaluationSums sums;
  sums.fingerprint = Sha256Hex(absl::StrCat(step, "\n", options_.fingerprint));
  sums.execution = options_.execution;
  const auto tell = [this](const RowsEvent& rows) { sink_.OnRows(rows); };
  const int64_t total = options_.validation->size() + static_cast<int64_t>(rows_.size());
  std::vector<Summary> texts;
  absl::StatusOr<EvaluationRecord> left = ReadLeft(keeper.Left(), sums, &texts);
  EvaluationRecord record = left.ok() ? *std::move(left) : EvaluationRecord(std::move(sums));
  return {network,          step, keeper, stop, RowCounter(total, tell), std::move(record),
          std::move(texts), {}};
}

absl::StatusOr<EvaluationEvent> TrainingEvaluator::Evaluate(const Gpt2Network& network,
                                                            int64_t step, EvaluationKeeper& keeper,
                                                            StopToken& stop) {
  if (options_.on_stage) options_.on_stage(Stage::kEvaluating);
  Run run = Begin(network, step, keeper, stop);
  const absl::Status status = GoOn(run);
  if (IsPaused(status)) RETURN_IF_ERROR(Keep(run, /*now=*/true));
  RETURN_IF_ERROR(status);
  if (options_.on_stage) options_.on_stage(Stage::kTraining);
  return std::move(run.event);
}

absl::Status TrainingEvaluator::GoOn(Run& run) {
  RETURN_IF_ERROR(AddLoss(run));
  if (rows_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(AddTexts(run));
  Score(run);
  return absl::OkStatus();
}

absl::Status TrainingEvaluator::AddLoss(Run& run) const {
  LossSum& sum = run.record.sums().loss;
  run.counter.BeginPass(options_.validation->size(), sum.rows);
  absl::Status kept;
  const auto on_batch = [&](int64_t rows) {
    run.counter.Add(rows);
    kept.Update(Keep(run, /*now=*/false));
  };
  ASSIGN_OR_RETURN(const ValidationLoss loss,
                   ComputeValidationLoss(run.network, *options_.validation, options_.batch_size,
                                         run.stop, on_batch, &sum));
  RETURN_IF_ERROR(kept);
  if (sum.knows_rows) {
    run.event.row_losses = std::make_shared<const std::vector<RowLoss>>(sum.of_rows);
  }
  run.event.values["eval/loss"] = loss.loss;
  run.event.values["eval/perplexity"] = std::exp(loss.loss);
  run.event.num_loss_tokens = loss.num_tokens;
  return absl::OkStatus();
}

absl::Status TrainingEvaluator::AddTexts(Run& run) const {
  run.counter.BeginPass(static_cast<int64_t>(rows_.size()), static_cast<int64_t>(run.texts.size()));
  const SummaryOptions options = {options_.tokenizer, options_.data, options_.evaluation,
                                  [&](int64_t texts) { run.counter.Add(texts); }};
  const Gpt2Network* const networks[] = {&run.network};
  while (run.texts.size() < rows_.size()) {
    const size_t begin = run.texts.size();
    const auto some = std::span(rows_).subspan(
        begin, std::min<size_t>(RowsAtOnce(options_.evaluation), rows_.size() - begin));
    ASSIGN_OR_RETURN(auto of_networks,
                     Summarise(networks, options, some, static_cast<int64_t>(begin), run.stop));
    for (Summary& text : of_networks[0]) {
      run.record.Add({&text});
      run.texts.push_back(std::move(text));
    }
    RETURN_IF_ERROR(Keep(run, /*now=*/false));
  }
  return absl::OkStatus();
}

void TrainingEvaluator::Score(Run& run) {
  EvaluationEvent& event = run.event;
  SetScoringSettings(options_.data, options_.evaluation, PrecisionName(run.network.dtype()),
                     &event);
  RougeTable table;
  SamplesHash hash;
  std::vector<SampleTextEvent> samples;
  for (size_t i = 0; i < rows_.size(); ++i) {
    run.stop.pulse().Beat();
    const Summary& text = run.texts[i];
    table.Add(ScoreRouge(rows_[i].targets, text.text, {options_.evaluation.use_stemmer}));
    hash.Add(rows_[i].targets);
    event.truncated_sources += text.source_tokens_cut > 0;
    if (static_cast<int64_t>(i) < options_.evaluation.sample_events) {
      samples.push_back(MakeSampleText(options_.validation_rows[i], rows_[i], text.text));
    }
  }
  table.Summarise("eval/", &event.values);
  event.num_samples = table.size();
  event.samples_sha256 = hash.Hex();
  if (!samples.empty()) sink_.OnSamples(run.step, /*adapter=*/"", samples);
}

absl::Status TrainingEvaluator::Keep(Run& run, bool now) {
  const EvaluationSums& sums = run.record.sums();
  const int64_t rows = sums.loss.rows + sums.rows;
  if (rows == 0) return absl::OkStatus();
  return run.keeper.Keep(now, [&](const std::string& directory) {
    return run.record.Save(JoinPath(directory, EvaluationFileName(rows)), run.stop.pulse());
  });
}

}  // namespace graft
