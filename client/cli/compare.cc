#include "client/cli/compare.h"

#include <fstream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/compare_validation.h"
#include "client/cli/output.h"
#include "common/base/byte_text.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

constexpr uint64_t kBootstrapSeed = 42;

double MetricOf(const v1::Job& job, const std::string& name) {
  const auto found = job.result().metrics().find(name);
  return found == job.result().metrics().end() ? std::numeric_limits<double>::quiet_NaN()
                                               : found->second;
}

std::vector<std::string> Scores(const v1::Job& job, const std::string& prefix) {
  std::vector<std::string> cells = {FormatNumber(MetricOf(job, prefix + "loss"), 4)};
  for (const char* type : {"rouge1", "rouge2", "rougeL", "rougeLsum"}) {
    cells.push_back(FormatNumber(MetricOf(job, prefix + type), 3));
  }
  const double low = MetricOf(job, prefix + "rougeLsum_low");
  const double high = MetricOf(job, prefix + "rougeLsum_high");
  cells.push_back(low == low ? absl::StrFormat("%.3f-%.3f", low, high) : "-");
  return cells;
}

void AddRow(Table& table, const std::string& label, const std::string& trained,
            std::vector<std::string> scores, const std::string& seconds, const std::string& size) {
  std::vector<std::string> cells = {label, trained};
  cells.insert(cells.end(), scores.begin(), scores.end());
  cells.push_back(seconds);
  cells.push_back(size);
  table.AddRow(std::move(cells));
}

absl::Status Compare(const std::map<int64_t, double>& scores,
                     const std::map<int64_t, double>& other_scores, PairedDifference& difference) {
  std::vector<double> ours;
  std::vector<double> theirs;
  for (const auto& [row, score] : scores) {
    const auto other = other_scores.find(row);
    if (other == other_scores.end()) continue;
    ours.push_back(score);
    theirs.push_back(other->second);
  }
  difference.rows = static_cast<int64_t>(ours.size());
  if (ours.empty()) {
    difference.not_comparable = "no row was scored by both";
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(difference.interval, BootstrapMeanDifference(ours, theirs, kBootstrapSeed));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<int64_t, double>> ReadScores(const std::string& predictions_path,
                                                     const std::string& rouge_type) {
  std::ifstream file(predictions_path);
  std::map<int64_t, double> scores;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    const absl::StatusOr<nlohmann::json> row = ParseJson(line);
    const nlohmann::json::json_pointer index("/index");
    const nlohmann::json::json_pointer score("/" + rouge_type + "/f");
    if (!row.ok() || !row->contains(index) || !row->at(index).is_number_integer() ||
        !row->contains(score) || !row->at(score).is_number()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, " of predictions.jsonl has no ", rouge_type));
    }
    scores[row->at(index).get<int64_t>()] = row->at(score).get<double>();
  }
  return scores;
}

std::string ComparisonTable(const std::vector<ComparedJob>& jobs,
                            const std::map<std::string, v1::Adapter>& adapters, size_t room) {
  Table table({"METHOD", "TRAINED>?", "LOSS>", "ROUGE-1>", "ROUGE-2>", "ROUGE-L>", "ROUGE-LSUM>",
               "95 %>?", "TRAINING>?", "ADAPTER>?"});
  const v1::Job* lead3 = nullptr;
  const v1::Job* oracle = nullptr;
  for (const ComparedJob& compared : jobs) {
    const v1::Job& job = compared.job;
    if (job.result().metrics().contains("lead3/rouge1")) lead3 = &job;
    if (job.result().metrics().contains("oracle/rouge1")) oracle = &job;
    std::string trained = "-";
    std::string seconds = "-";
    std::string size = "-";
    if (compared.training != nullptr) {
      const v1::JobResult& result = compared.training->result();
      trained = FormatCount(result.trainable_parameters());
      seconds = FormatSeconds(result.train_seconds());
      const auto adapter = adapters.find(result.adapter());
      if (adapter != adapters.end()) size = FormatBytes(adapter->second.size_bytes());
    }
    AddRow(table, compared.label, trained, Scores(job, "eval/"), seconds, size);
  }
  if (lead3 != nullptr) AddRow(table, "lead-3", "-", Scores(*lead3, "lead3/"), "-", "-");
  if (oracle != nullptr) AddRow(table, "oracle", "-", Scores(*oracle, "oracle/"), "-", "-");
  return table.ToString(room);
}

absl::StatusOr<std::vector<PairedDifference>> PairedDifferences(
    const std::vector<ComparedJob>& jobs, const std::vector<std::map<int64_t, double>>& scores) {
  std::vector<PairedDifference> differences;
  for (size_t i = 1; i < jobs.size(); ++i) {
    PairedDifference& difference = differences.emplace_back();
    difference.job = jobs[i].job.name();
    difference.to_job = jobs[0].job.name();
    difference.label = absl::StrCat(jobs[i].label, " - ", jobs[0].label);
    const v1::ScoringFingerprint& ours = jobs[i].job.result().fingerprint();
    const v1::ScoringFingerprint& theirs = jobs[0].job.result().fingerprint();
    difference.not_comparable =
        ours.samples_sha256() == theirs.samples_sha256()
            ? UnequalFields(ours, theirs, {"use_stemmer", "sentence_splitter"})
            : "they scored different references";
    if (!difference.not_comparable.empty()) continue;
    difference.note =
        UnequalDecoding(ours, theirs, {"decoding", "max_new_tokens", "max_source_tokens"});
    RETURN_IF_ERROR(Compare(scores[i], scores[0], difference));
  }
  return differences;
}

std::string DifferencesText(const std::vector<PairedDifference>& differences,
                            const std::string& rouge_type) {
  std::string text;
  for (const PairedDifference& difference : differences) {
    absl::StrAppend(&text, difference.label, ": ");
    if (!difference.not_comparable.empty()) {
      absl::StrAppend(&text, "not comparable, ", difference.not_comparable, "\n");
      continue;
    }
    const BootstrapInterval& interval = difference.interval;
    absl::StrAppendFormat(&text, "%s %+.3f, 95 %% interval %+.3f to %+.3f (%d rows%s%s)\n",
                          rouge_type, interval.mean, interval.low, interval.high, difference.rows,
                          difference.note.empty() ? "" : "; ", difference.note);
  }
  return text;
}

}  // namespace graft
