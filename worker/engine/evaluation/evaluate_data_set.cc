#include "worker/engine/evaluation/evaluate_data_set.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
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

// What comes of one network.
struct NetworkScores {
  RougeTable table;
  std::vector<SampleTextEvent> samples;
  EvaluationEvent event;
};

// What the texts of a row are compared with, whosever they are.
struct RowBaselines {
  std::optional<ScoredText> lead3;
  std::optional<ScoredText> oracle;
  std::optional<ScoredText> untuned;
};

class EvaluationRun {
 public:
  EvaluationRun(const EvaluateDataSetOptions& options, StopToken& stop)
      : networks_(options.networks),
        options_(options),
        evaluation_(options.config.evaluation),
        stop_(stop),
        total_(RowsToGenerateFor(options)),
        counter_(LossRows(options) + total_ * NumNetworks(), options.on_rows),
        scores_(options.networks.size()) {}

  absl::StatusOr<std::vector<EvaluationEvent>> Run() {
    absl::Status status = RunAll();
    if (IsPaused(status)) {
      if (absl::Status saved = Save(/*now=*/true); !saved.ok()) return saved;
    }
    RETURN_IF_ERROR(status);
    std::vector<EvaluationEvent> events;
    for (NetworkScores& scores : scores_) events.push_back(std::move(scores.event));
    return events;
  }

 private:
  absl::Status RunAll() {
    const absl::Duration start = Clock::Real().Boottime();
    // Opened before the loss passes: meanwhile a worker may drop the file from its cache.
    ASSIGN_OR_RETURN(RowStream rows, RowStream::Open(options_.data, options_.config.data));
    RETURN_IF_ERROR(AddLosses());
    if (total_ > 0) RETURN_IF_ERROR(GenerateAll(rows));
    const double seconds = absl::ToDoubleSeconds(Clock::Real().Boottime() - start);
    for (size_t i = 0; i < networks_.size(); ++i) {
      EvaluationEvent& event = scores_[i].event;
      event.adapter = networks_[i].adapter;
      event.seconds = seconds;
      event.is_best = true;
    }
    return absl::OkStatus();
  }

  absl::Status Save(bool now) { return options_.save ? options_.save(now) : absl::OkStatus(); }

  int64_t NumNetworks() const { return static_cast<int64_t>(networks_.size()); }

  static int64_t RowsToGenerateFor(const EvaluateDataSetOptions& options) {
    const int64_t most = options.config.evaluation.max_samples;
    const int64_t all = options.networks[0].tokens->size();
    if (!options.config.data.text_field.empty()) return 0;
    return most < 0 ? all : std::min(most, all);
  }

  static int64_t LossRows(const EvaluateDataSetOptions& options) {
    int64_t rows = options.untuned == nullptr ? 0 : options.untuned_tokens->size();
    for (const ScoredNetwork& network : options.networks) rows += network.tokens->size();
    return rows;
  }

  absl::Status AddLosses() {
    EvaluationSums& sums = options_.record->sums();
    std::vector<RowLossFile> files;
    for (size_t i = 0; i < networks_.size(); ++i) {
      ASSIGN_OR_RETURN(RowLossFile file, RowLossFile::Open(options_.data, options_.config.data));
      files.push_back(std::move(file));
    }
    for (size_t i = 0; i < networks_.size(); ++i) {
      EvaluationEvent& event = scores_[i].event;
      ASSIGN_OR_RETURN(event.num_loss_tokens, AddLoss(networks_[i].network, *networks_[i].tokens,
                                                      "eval/", LossOf(sums, i), event.values));
    }
    std::map<std::string, double> untuned;
    if (options_.untuned != nullptr) {
      RETURN_IF_ERROR(AddLoss(*options_.untuned, *options_.untuned_tokens, "untuned/",
                              sums.untuned_loss, untuned)
                          .status());
    }
    for (size_t i = 0; i < networks_.size(); ++i) {
      scores_[i].event.values.insert(untuned.begin(), untuned.end());
      RETURN_IF_ERROR(files[i].Write(networks_[i].row_losses_path, *networks_[i].tokens,
                                     LossOf(sums, i).of_rows, sums.untuned_loss.of_rows,
                                     stop_.pulse()));
    }
    return absl::OkStatus();
  }

  static LossSum& LossOf(EvaluationSums& sums, size_t network) {
    return network == 0 ? sums.loss : sums.more_losses[network - 1];
  }

  // Returns the number of label tokens.
  absl::StatusOr<int64_t> AddLoss(const Gpt2Network& network, const TokenFile& tokens,
                                  const std::string& prefix, LossSum& so_far,
                                  std::map<std::string, double>& values) {
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
    values[prefix + "loss"] = loss.loss;
    values[prefix + "perplexity"] = std::exp(loss.loss);
    return loss.num_tokens;
  }

  absl::Status GenerateAll(RowStream& stream) {
    counter_.BeginPass(total_ * NumNetworks(), recorded_ * NumNetworks());
    std::vector<PredictionWriter> writers;
    for (const ScoredNetwork& network : networks_) {
      ASSIGN_OR_RETURN(PredictionWriter writer, PredictionWriter::Create(network.predictions_path));
      writers.push_back(std::move(writer));
    }
    std::vector<DataRow> rows;
    while (done_ < total_) {
      RETURN_IF_ERROR(ReadSome(stream, &rows));
      ASSIGN_OR_RETURN(const auto of_networks,
                       done_ < recorded_ ? ReadTexts(rows) : GenerateSome(rows));
      RETURN_IF_ERROR(ScoreSome(rows, of_networks, writers));
      done_ += static_cast<int64_t>(rows.size());
      if (done_ > recorded_) RETURN_IF_ERROR(Save(/*now=*/false));
    }
    for (PredictionWriter& writer : writers) RETURN_IF_ERROR(writer.Commit());
    Conclude();
    return absl::OkStatus();
  }

  void Conclude() {
    const std::string samples_sha256 = hash_.Hex();
    std::map<std::string, double> baselines;
    lead3_table_.Summarise("lead3/", &baselines);
    oracle_table_.Summarise("oracle/", &baselines);
    untuned_table_.Summarise("untuned/", &baselines);
    for (size_t i = 0; i < networks_.size(); ++i) {
      const NetworkScores& scores = scores_[i];
      if (options_.on_samples && !scores.samples.empty()) {
        options_.on_samples(networks_[i].adapter, scores.samples);
      }
      EvaluationEvent& event = scores_[i].event;
      scores.table.Summarise("eval/", &event.values);
      event.values.insert(baselines.begin(), baselines.end());
      SetScoringSettings(options_.config.data, evaluation_,
                         PrecisionName(networks_[i].network.dtype()), &event);
      event.num_samples = scores.table.size();
      event.samples_sha256 = samples_sha256;
    }
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

  // Of each network, the untuned one last, of each row.
  using Texts = std::vector<std::vector<Summary>>;

  size_t TextsOfRow() const { return networks_.size() + (options_.untuned == nullptr ? 0 : 1); }

  // Those that the record has. It was saved between two times GenerateSome.
  absl::StatusOr<Texts> ReadTexts(const std::vector<DataRow>& rows) {
    Texts of_networks(TextsOfRow());
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
    // A row of each network counts. The untuned model's texts, which have none, come among them.
    const auto texts_of_row = static_cast<int64_t>(TextsOfRow());
    int64_t texts = 0;
    const auto rows_of = [&](int64_t count) { return count * NumNetworks() / texts_of_row; };
    const SummaryOptions options = {options_.tokenizer, options_.config.data, evaluation_,
                                    [&](int64_t more) {
                                      const int64_t before = rows_of(texts);
                                      texts += more;
                                      counter_.Add(rows_of(texts) - before);
                                    }};
    std::vector<const Gpt2Network*> networks;
    for (const ScoredNetwork& scored : networks_) networks.push_back(&scored.network);
    if (options_.untuned != nullptr) networks.push_back(options_.untuned);
    ASSIGN_OR_RETURN(Texts of_networks, Summarise(networks, options, rows, done_, stop_));
    for (size_t i = 0; i < rows.size(); ++i) {
      std::vector<const Summary*> of_row;
      for (const std::vector<Summary>& of_network : of_networks) of_row.push_back(&of_network[i]);
      options_.record->Add(of_row);
    }
    return of_networks;
  }

  absl::Status ScoreSome(const std::vector<DataRow>& rows, const Texts& of_networks,
                         std::vector<PredictionWriter>& writers) {
    for (size_t i = 0; i < rows.size(); ++i) {
      stop_.pulse().Beat();
      RowBaselines baselines = ScoreBaselines(rows[i]);
      if (options_.untuned != nullptr) {
        baselines.untuned = Score(rows[i], of_networks.back()[i].text, untuned_table_);
      }
      hash_.Add(rows[i].targets);
      for (size_t network = 0; network < networks_.size(); ++network) {
        RETURN_IF_ERROR(ScoreRow(rows[i], done_ + static_cast<int64_t>(i), of_networks[network][i],
                                 baselines, scores_[network], writers[network]));
      }
    }
    return absl::OkStatus();
  }

  RowBaselines ScoreBaselines(const DataRow& row) {
    RowBaselines baselines;
    if (evaluation_.lead3_baseline) {
      baselines.lead3 = Score(row, LeadSentences(row.source, 3), lead3_table_);
    }
    if (evaluation_.oracle_baseline) {
      std::string oracle = ExtractiveOracle(row.source, row.targets, 3, rouge_options_);
      baselines.oracle = Score(row, std::move(oracle), oracle_table_);
    }
    return baselines;
  }

  absl::Status ScoreRow(const DataRow& row, int64_t index, const Summary& summary,
                        const RowBaselines& baselines, NetworkScores& scores,
                        PredictionWriter& writer) const {
    Prediction prediction;
    prediction.index = index;
    prediction.row = &row;
    prediction.prediction = Score(row, summary.text, scores.table);
    prediction.new_tokens = summary.new_tokens;
    prediction.ended = summary.ended;
    prediction.prompt_tokens = summary.prompt_tokens;
    prediction.source_tokens_cut = summary.source_tokens_cut;
    prediction.lead3 = baselines.lead3;
    prediction.oracle = baselines.oracle;
    prediction.untuned = baselines.untuned;
    if (index < evaluation_.sample_events) {
      scores.samples.push_back(MakeSampleText(index, row, summary.text));
    }
    scores.event.truncated_sources += summary.source_tokens_cut > 0;
    return writer.Append(prediction);
  }

  ScoredText Score(const DataRow& row, std::string text, RougeTable& table) const {
    ScoredText scored = {std::move(text), {}};
    scored.scores = ScoreRouge(row.targets, scored.text, rouge_options_);
    table.Add(scored.scores);
    return scored;
  }

  const std::vector<ScoredNetwork>& networks_;
  const EvaluateDataSetOptions& options_;
  const EvaluationConfig& evaluation_;
  StopToken& stop_;
  const int64_t total_;                                    // Rows to generate for.
  int64_t done_ = 0;                                       // Of them.
  const int64_t recorded_ = options_.record->sums().rows;  // Of them, before this began.
  RowCounter counter_;
  const RougeOptions rouge_options_{evaluation_.use_stemmer};
  std::vector<NetworkScores> scores_;
  RougeTable lead3_table_, oracle_table_, untuned_table_;
  SamplesHash hash_;
};

}  // namespace

absl::StatusOr<std::vector<EvaluationEvent>> EvaluateDataSet(const EvaluateDataSetOptions& options,
                                                             StopToken& stop) {
  return EvaluationRun(options, stop).Run();
}

}  // namespace graft
