#include "client/cli/compare.h"

#include <fstream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output.h"
#include "common/base/status_macros.h"
#include "common/text/bootstrap.h"
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

}  // namespace

absl::StatusOr<std::map<int64_t, double>> ReadScores(const std::string& predictions_path,
                                                     const std::string& rouge_type) {
  std::ifstream file(predictions_path);
  std::map<int64_t, double> scores;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    const auto row = nlohmann::json::parse(line, nullptr, false);
    const nlohmann::json::json_pointer score("/" + rouge_type + "/f");
    if (row.is_discarded() || !row.contains("index") || !row.contains(score)) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, " of predictions.jsonl has no ", rouge_type));
    }
    scores[row["index"].get<int64_t>()] = row[score].get<double>();
  }
  return scores;
}

std::string ComparisonTable(const std::vector<ComparedJob>& jobs,
                            const std::map<std::string, v1::Adapter>& adapters) {
  Table table({"METHOD", "TRAINED>", "LOSS>", "ROUGE-1>", "ROUGE-2>", "ROUGE-L>", "ROUGE-LSUM>",
               "95 %>", "TRAINING>", "ADAPTER>"});
  const v1::Job* lead3 = nullptr;
  for (const ComparedJob& compared : jobs) {
    const v1::Job& job = compared.job;
    if (MetricOf(job, "lead3/rouge1") == MetricOf(job, "lead3/rouge1")) lead3 = &job;
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
  return table.ToString();
}

absl::StatusOr<std::string> PairedDifferences(const std::vector<ComparedJob>& jobs,
                                              const std::vector<std::map<int64_t, double>>& scores,
                                              const std::string& rouge_type) {
  std::string text;
  for (size_t i = 1; i < jobs.size(); ++i) {
    const std::string names = absl::StrCat(jobs[i].label, " - ", jobs[0].label);
    if (jobs[i].job.result().fingerprint().samples_sha256() !=
        jobs[0].job.result().fingerprint().samples_sha256()) {
      absl::StrAppend(&text, names, ": not comparable, they scored different references\n");
      continue;
    }
    std::vector<double> ours;
    std::vector<double> theirs;
    for (const auto& [row, score] : scores[i]) {
      const auto other = scores[0].find(row);
      if (other == scores[0].end()) continue;
      ours.push_back(score);
      theirs.push_back(other->second);
    }
    if (ours.empty()) continue;
    ASSIGN_OR_RETURN(const BootstrapInterval interval,
                     BootstrapMeanDifference(ours, theirs, kBootstrapSeed));
    absl::StrAppendFormat(&text, "%s: %s %+.3f, 95 %% interval %+.3f to %+.3f (%d rows)\n", names,
                          rouge_type, interval.mean, interval.low, interval.high, ours.size());
  }
  return text;
}

}  // namespace graft
