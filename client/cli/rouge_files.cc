#include "client/cli/rouge_files.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/output.h"
#include "client/cli/summary_reader.h"
#include "common/base/status_macros.h"
#include "common/text/rouge_table.h"
#include "common/text/samples_hash.h"
#include "common/text/sentences.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

// What is averaged, type by type: the values of all rows.
struct Values {
  std::vector<double> precision;
  std::vector<double> recall;
  std::vector<double> f;
};

std::vector<std::string> Fields(const std::string& chosen, std::vector<std::string> defaults) {
  return chosen.empty() ? std::move(defaults) : std::vector<std::string>{chosen};
}

absl::Status CheckTypes(const std::vector<std::string>& types) {
  if (types.empty()) return absl::InvalidArgumentError("types: none is given");
  for (const std::string& type : types) {
    if (RougeTypeMember(type) == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "types: \"", type, "\" is none; there are rouge1, rouge2, rougeL and rougeLsum"));
    }
  }
  return absl::OkStatus();
}

absl::Status LengthMismatch(const SummaryReader& ended, int64_t rows, const SummaryReader& longer,
                            int64_t line) {
  return absl::InvalidArgumentError(absl::StrCat(ended.path(), " ends after ", rows, " rows, but ",
                                                 longer.path(), " has another one on line ", line));
}

// Two files side by side.
class Pairs {
 public:
  Pairs(SummaryReader predictions, SummaryReader references)
      : predictions_(std::move(predictions)), references_(std::move(references)) {}

  // False at the end of both.
  absl::StatusOr<bool> Next() {
    ASSIGN_OR_RETURN(const bool more, predictions_.Next(&prediction));
    ASSIGN_OR_RETURN(const bool more_references, references_.Next(&reference));
    if (more && !more_references) {
      return LengthMismatch(references_, rows_, predictions_, prediction.line);
    }
    if (!more && more_references) {
      return LengthMismatch(predictions_, rows_, references_, reference.line);
    }
    if (!more) {
      if (rows_ > 0) return false;
      return absl::InvalidArgumentError(absl::StrCat(predictions_.path(), " has no rows"));
    }
    ++rows_;
    if (prediction.id.empty() || reference.id.empty() || prediction.id == reference.id) return true;
    return absl::InvalidArgumentError(absl::StrCat(
        predictions_.path(), ": line ", prediction.line, ": id \"", prediction.id,
        "\" stands beside id \"", reference.id, "\" of ", references_.path(), ", line ",
        reference.line, "; both files must have the same rows in the same order"));
  }

  SummaryRow prediction;
  SummaryRow reference;

 private:
  SummaryReader predictions_;
  SummaryReader references_;
  int64_t rows_ = 0;
};

absl::StatusOr<Pairs> OpenPairs(const RougeFileOptions& options) {
  ASSIGN_OR_RETURN(
      SummaryReader predictions,
      SummaryReader::Open(options.predictions_path,
                          {Fields(options.prediction_field, {"prediction", "summary"}), false}));
  ASSIGN_OR_RETURN(
      SummaryReader references,
      SummaryReader::Open(
          options.references_path,
          {Fields(options.reference_field, {"references", "reference", "summary"}), true}));
  return Pairs(std::move(predictions), std::move(references));
}

void SplitLines(std::vector<std::string>& texts) {
  for (std::string& text : texts) text = absl::StrJoin(SplitSentences(text), "\n");
}

absl::StatusOr<RougeFileType> Aggregate(const std::string& name, const Values& values,
                                        uint64_t seed) {
  RougeFileType type{name, {}, {}, {}};
  ASSIGN_OR_RETURN(type.precision, BootstrapMean(values.precision, seed));
  ASSIGN_OR_RETURN(type.recall, BootstrapMean(values.recall, seed));
  ASSIGN_OR_RETURN(type.f, BootstrapMean(values.f, seed));
  return type;
}

nlohmann::ordered_json IntervalJson(const BootstrapInterval& interval) {
  return {{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

std::string IntervalText(const BootstrapInterval& interval) {
  return absl::StrFormat("%.4f-%.4f", interval.low, interval.high);
}

}  // namespace

RougeScore RougeScores::*RougeTypeMember(const std::string& name) {
  for (const RougeType& type : kRougeTypes) {
    if (name == type.name) return type.scores;
  }
  return nullptr;
}

absl::StatusOr<RougeFileReport> ScoreRougeFiles(
    const RougeFileOptions& options, const std::function<void(const RougeFileRow&)>& on_row) {
  RETURN_IF_ERROR(CheckTypes(options.types));
  ASSIGN_OR_RETURN(Pairs pairs, OpenPairs(options));
  RougeFileReport report;
  std::vector<Values> values(options.types.size());
  SamplesHash samples;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, pairs.Next());
    if (!more) break;
    samples.Add(pairs.reference.texts);
    if (options.split_sentences) {
      SplitLines(pairs.prediction.texts);
      SplitLines(pairs.reference.texts);
    }
    for (const std::string& text : pairs.reference.texts) {
      if (absl::StrContains(text, '\n')) report.any_sentences = true;
    }
    const RougeFileRow row{
        report.num_samples++, pairs.prediction.line, pairs.prediction.id,
        ScoreRouge(pairs.reference.texts, pairs.prediction.texts[0], {options.use_stemmer})};
    for (size_t i = 0; i < options.types.size(); ++i) {
      const RougeScore& score = row.scores.*RougeTypeMember(options.types[i]);
      values[i].precision.push_back(score.precision);
      values[i].recall.push_back(score.recall);
      values[i].f.push_back(score.f);
    }
    if (on_row) on_row(row);
  }
  report.samples_sha256 = samples.Hex();
  for (size_t i = 0; i < options.types.size(); ++i) {
    ASSIGN_OR_RETURN(report.types.emplace_back(),
                     Aggregate(options.types[i], values[i], options.seed));
  }
  return report;
}

std::string RougeReportTable(const RougeFileReport& report) {
  Table table({"", "PRECISION>", "95 %>", "RECALL>", "95 %>", "F>", "95 %>"});
  for (const RougeFileType& type : report.types) {
    table.AddRow({type.name, FormatNumber(type.precision.mean, 4), IntervalText(type.precision),
                  FormatNumber(type.recall.mean, 4), IntervalText(type.recall),
                  FormatNumber(type.f.mean, 4), IntervalText(type.f)});
  }
  return table.ToString();
}

std::string RougeRowJson(const RougeFileRow& row, const std::vector<std::string>& types) {
  nlohmann::ordered_json json = {{"index", row.index}, {"line", row.line}};
  if (!row.id.empty()) json["id"] = row.id;
  for (const std::string& type : types) {
    const RougeScore& score = row.scores.*RougeTypeMember(type);
    json[type] = {{"precision", score.precision}, {"recall", score.recall}, {"f", score.f}};
  }
  return json.dump();
}

std::string RougeAggregateJson(const RougeFileReport& report, const RougeFileOptions& options) {
  nlohmann::ordered_json aggregate = {
      {"num_samples", report.num_samples},
      {"samples_sha256", report.samples_sha256},
      {"use_stemmer", options.use_stemmer},
      {"sentence_splitter", options.split_sentences ? "rule" : "newline"},
      {"resamples", kBootstrapResamples},
      {"seed", options.seed}};
  for (const RougeFileType& type : report.types) {
    aggregate[type.name] = {{"precision", IntervalJson(type.precision)},
                            {"recall", IntervalJson(type.recall)},
                            {"f", IntervalJson(type.f)}};
  }
  return nlohmann::ordered_json{{"aggregate", aggregate}}.dump();
}

}  // namespace graft
