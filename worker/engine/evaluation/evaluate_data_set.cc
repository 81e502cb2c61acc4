#include "worker/engine/evaluation/evaluate_data_set.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/text/rouge.h"
#include "common/text/rouge_table.h"
#include "common/text/samples_hash.h"
#include "common/text/sentences.h"
#include "worker/engine/evaluation/fingerprint.h"
#include "worker/engine/evaluation/predictions.h"
#include "worker/engine/evaluation/row_counter.h"
#include "worker/engine/evaluation/row_loss_file.h"
#include "worker/engine/evaluation/sample_text.h"
#include "worker/engine/evaluation/summaries.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {
namespace {

class EvaluationRun {
 public:
  EvaluationRun(const Gpt2Network& network, const EvaluateDataSetOptions& options, StopToken& stop)
      : network_(network),
        options_(options),
        evaluation_(options.config.evaluation),
        stop_(stop),
        total_(RowsToGenerateFor(options)),
        counter_(LossRows(options) + total_, options.on_rows) {}

  absl::StatusOr<EvaluationEvent> Run() {
    absl::Status status = RunAll();
    if (IsPaused(status)) {
      if (absl::Status saved = Save(/*now=*/true); !saved.ok()) return saved;
    }
    RETURN_IF_ERROR(status);
    return event_;
  }

 private:
  absl::Status RunAll() {
    const absl::Duration start = Clock::Real().Boottime();
    // Opened before the loss passes: meanwhile a worker may drop the file from its cache.
    ASSIGN_OR_RETURN(RowStream rows, RowStream::Open(options_.data, options_.config.data));
    ASSIGN_OR_RETURN(RowLossFile row_losses,
                     RowLossFile::Open(options_.data, options_.config.data));
    EvaluationSums& sums = options_.record->sums();
    RETURN_IF_ERROR(
        AddLoss(network_, *options_.tokens, "eval/", sums.loss, &event_.num_loss_tokens));
    if (options_.untuned != nullptr) {
      int64_t tokens = 0;
      RETURN_IF_ERROR(AddLoss(*options_.untuned, *options_.untuned_tokens, "untuned/",
                              sums.untuned_loss, &tokens));
    }
    RETURN_IF_ERROR(row_losses.Write(options_.row_losses_path, *options_.tokens, sums.loss.of_rows,
                                     sums.untuned_loss.of_rows, stop_.pulse()));
    if (total_ > 0) RETURN_IF_ERROR(GenerateAll(rows));
    event_.seconds = absl::ToDoubleSeconds(Clock::Real().Boottime() - start);
    event_.is_best = true;
    return absl::OkStatus();
  }

  absl::Status Save(bool now) { return options_.save ? options_.save(now) : absl::OkStatus(); }

  static int64_t RowsToGenerateFor(const EvaluateDataSetOptions& options) {
    const int64_t most = options.config.evaluation.max_samples;
    if (!options.config.data.text_field.empty()) return 0;
    return most < 0 ? options.tokens->size() : std::min(most, options.tokens->size());
  }

  static int64_t LossRows(const EvaluateDataSetOptions& options) {
    return options.tokens->size() +
           (options.untuned == nullptr ? 0 : options.untuned_tokens->size());
  }

  absl::Status AddLoss(const Gpt2Network& network, const TokenFile& tokens,
                       const std::string& prefix, LossSum& so_far, int64_t* num_tokens) {
    counter_.BeginPass(tokens.size(), so_far.rows);
    absl::Status saved = absl::OkStatus();
    const auto on_batch = [&](int64_t rows) {
      counter_.Add(rows);
      saved.Update(Save(/*now=*/false));
    };
    ASSIGN_OR_RETURN(const ValidationLoss loss,
                     ComputeValidationLoss(network, tokens, options_.config.batch_size, stop_,
                                           on_batch, &so_far));
    RETURN_IF_ERROR(saved);
    if (!so_far.knows_rows) {
      ASSIGN_OR_RETURN(so_far.of_rows,
                       ComputeRowLosses(network, tokens, options_.config.batch_size, stop_));
      so_far.knows_rows = true;
    }
    event_.values[prefix + "loss"] = loss.loss;
    event_.values[prefix + "perplexity"] = std::exp(loss.loss);
    *num_tokens = loss.num_tokens;
    return absl::OkStatus();
  }

  absl::Status GenerateAll(RowStream& stream) {
    counter_.BeginPass(total_, recorded_);
    ASSIGN_OR_RETURN(PredictionWriter writer, PredictionWriter::Create(options_.predictions_path));
    std::vector<DataRow> rows;
    while (done_ < total_) {
      RETURN_IF_ERROR(ReadSome(stream, &rows));
      ASSIGN_OR_RETURN(const auto of_networks,
                       done_ < recorded_ ? ReadTexts(rows) : GenerateSome(rows));
      RETURN_IF_ERROR(ScoreSome(rows, of_networks, writer));
      done_ += static_cast<int64_t>(rows.size());
      if (done_ > recorded_) RETURN_IF_ERROR(Save(/*now=*/false));
    }
    RETURN_IF_ERROR(writer.Commit());
    if (options_.on_samples && !samples_.empty()) options_.on_samples(samples_);
    table_.Summarise("eval/", &event_.values);
    lead3_table_.Summarise("lead3/", &event_.values);
    oracle_table_.Summarise("oracle/", &event_.values);
    untuned_table_.Summarise("untuned/", &event_.values);
    SetScoringSettings(options_.config.data, evaluation_, PrecisionName(network_.dtype()), &event_);
    event_.num_samples = table_.size();
    event_.samples_sha256 = hash_.Hex();
    return absl::OkStatus();
  }

  absl::Status ReadSome(RowStream& stream, std::vector<DataRow>* rows) {
    const int64_t count = std::min(total_ - done_, RowsAtOnce(evaluation_));
    rows->resize(static_cast<size_t>(count));
    for (DataRow& row : *rows) {
      ASSIGN_OR_RETURN(const bool have, stream.Next(&row));
      if (!have) return absl::DataLossError(options_.data.label() + ": has lost rows");
    }
    return absl::OkStatus();
  }

  using Texts = std::vector<std::vector<Summary>>;  // Of each network, of each row.

  // Those that the record has. It was saved between two times GenerateSome.
  absl::StatusOr<Texts> ReadTexts(const std::vector<DataRow>& rows) {
    Texts of_networks(options_.untuned == nullptr ? 1 : 2);
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSIGN_OR_RETURN(std::vector<Summary> texts, options_.record->ReadRow());
      if (texts.size() != of_networks.size()) {
        return absl::DataLossError("the evaluation's record has other texts than it needs");
      }
      for (size_t network = 0; network < texts.size(); ++network) {
        of_networks[network].push_back(std::move(texts[network]));
      }
    }
    return of_networks;
  }

  absl::StatusOr<Texts> GenerateSome(const std::vector<DataRow>& rows) {
    // With the untuned model's, a row is done when it has two texts.
    const int64_t texts_a_row = options_.untuned == nullptr ? 1 : 2;
    int64_t texts = 0;
    const SummaryOptions options = {options_.tokenizer, options_.config.data, evaluation_,
                                    [&](int64_t more) {
                                      const int64_t before = texts / texts_a_row;
                                      texts += more;
                                      counter_.Add(texts / texts_a_row - before);
                                    }};
    std::vector<const Gpt2Network*> networks = {&network_};
    if (options_.untuned != nullptr) networks.push_back(options_.untuned);
    ASSIGN_OR_RETURN(Texts of_networks, Summarise(networks, options, rows, done_, stop_));
    for (size_t i = 0; i < rows.size(); ++i) {
      std::vector<const Summary*> texts;
      for (const std::vector<Summary>& of_network : of_networks) texts.push_back(&of_network[i]);
      options_.record->Add(texts);
    }
    return of_networks;
  }

  absl::Status ScoreSome(const std::vector<DataRow>& rows, const Texts& of_networks,
                         PredictionWriter& writer) {
    const std::vector<Summary>& summaries = of_networks[0];
    for (size_t i = 0; i < rows.size(); ++i) {
      stop_.pulse().Beat();
      Prediction prediction;
      prediction.index = done_ + static_cast<int64_t>(i);
      prediction.row = &rows[i];
      prediction.prediction = Score(rows[i], summaries[i].text, table_);
      prediction.new_tokens = summaries[i].new_tokens;
      prediction.ended = summaries[i].ended;
      prediction.prompt_tokens = summaries[i].prompt_tokens;
      prediction.source_tokens_cut = summaries[i].source_tokens_cut;
      if (evaluation_.lead3_baseline) {
        prediction.lead3 = Score(rows[i], LeadSentences(rows[i].source, 3), lead3_table_);
      }
      if (evaluation_.oracle_baseline) {
        std::string oracle = ExtractiveOracle(rows[i].source, rows[i].targets, 3, rouge_options_);
        prediction.oracle = Score(rows[i], std::move(oracle), oracle_table_);
      }
      if (options_.untuned != nullptr) {
        prediction.untuned = Score(rows[i], of_networks[1][i].text, untuned_table_);
      }
      if (prediction.index < evaluation_.sample_events) {
        samples_.push_back(MakeSampleText(prediction.index, rows[i], summaries[i].text));
      }
      hash_.Add(rows[i].targets);
      event_.truncated_sources += summaries[i].source_tokens_cut > 0;
      RETURN_IF_ERROR(writer.Append(prediction));
    }
    return absl::OkStatus();
  }

  ScoredText Score(const DataRow& row, std::string text, RougeTable& table) const {
    ScoredText scored = {std::move(text), {}};
    scored.scores = ScoreRouge(row.targets, scored.text, rouge_options_);
    table.Add(scored.scores);
    return scored;
  }

  const Gpt2Network& network_;
  const EvaluateDataSetOptions& options_;
  const EvaluationConfig& evaluation_;
  StopToken& stop_;
  const int64_t total_;                                    // Rows to generate for.
  int64_t done_ = 0;                                       // Of them.
  const int64_t recorded_ = options_.record->sums().rows;  // Of them, before this began.
  RowCounter counter_;
  const RougeOptions rouge_options_{evaluation_.use_stemmer};
  RougeTable table_, lead3_table_, oracle_table_, untuned_table_;
  SamplesHash hash_;
  std::vector<SampleTextEvent> samples_;
  EvaluationEvent event_;
};

}  // namespace

absl::StatusOr<EvaluationEvent> EvaluateDataSet(const Gpt2Network& network,
                                                const EvaluateDataSetOptions& options,
                                                StopToken& stop) {
  return EvaluationRun(network, options, stop).Run();
}

}  // namespace graft
