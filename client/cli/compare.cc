#include "client/cli/compare.h"

#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/byte_text.h"
#include "common/text/csv_row.h"
#include "common/text/exact_number.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

using Metrics = google::protobuf::Map<std::string, double>;

constexpr size_t kLabelColumns = 32;
const char* const kRougeTypes[] = {"rouge1", "rouge2", "rougeL", "rougeLsum"};

double MetricOf(const Metrics& metrics, const std::string& name) {
  const auto found = metrics.find(name);
  return found == metrics.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

void AddRow(Table& table, const std::string& label, const std::string& trained,
            const Metrics& metrics, const std::string& prefix, const std::string& seconds,
            const std::string& size) {
  std::vector<std::string> cells = {OneLine(label, kLabelColumns), trained,
                                    FormatNumber(MetricOf(metrics, prefix + "loss"), 4)};
  for (const char* type : kRougeTypes) {
    cells.push_back(FormatNumber(MetricOf(metrics, prefix + type), 3));
  }
  const double low = MetricOf(metrics, prefix + "rougeLsum_low");
  const double high = MetricOf(metrics, prefix + "rougeLsum_high");
  cells.push_back(low == low ? absl::StrFormat("%.3f-%.3f", low, high) : "-");
  cells.push_back(seconds);
  cells.push_back(size);
  table.AddRow(std::move(cells));
}

// "(120 rows; 9 would do; decoding is …)"
std::string RowsText(const v1::PairedDifference& difference) {
  std::vector<std::string> parts = {absl::StrCat(difference.rows(), " rows")};
  const int64_t needed = difference.rows_needed();
  const bool told = difference.low() > 0 || difference.high() < 0;
  if (needed > 0) {
    parts.push_back(told ? absl::StrCat(FormatCount(needed), " would do")
                         : absl::StrCat("it takes about ", FormatCount(needed), " to tell"));
  }
  if (!difference.note().empty()) parts.push_back(difference.note());
  return absl::StrCat("(", absl::StrJoin(parts, "; "), ")");
}

// A job, and of one of several adapters which.
using Compared = std::pair<std::string, std::string>;

Compared KeyOf(const v1::ComparedJob& job) {
  return {job.job(), job.one_of_several() ? job.adapter() : ""};
}

std::map<Compared, const v1::PairedDifference*> DifferencesOf(
    const v1::CompareJobsResponse& comparison) {
  std::map<Compared, const v1::PairedDifference*> differences;
  for (const v1::PairedDifference& difference : comparison.differences()) {
    differences[{difference.job(), difference.adapter()}] = &difference;
  }
  return differences;
}

// What is told of a job counts for all adapters of it.
std::map<std::string, const v1::ValidationDifference*> ValidationsOf(
    const v1::CompareJobsResponse& comparison) {
  std::map<std::string, const v1::ValidationDifference*> validations;
  for (const v1::ValidationDifference& difference : comparison.validations()) {
    validations[difference.job()] = &difference;
  }
  return validations;
}

// By the first one of each.
std::map<Compared, const v1::SeedGroup*> SeedsOf(const v1::CompareJobsResponse& comparison) {
  std::map<Compared, const v1::SeedGroup*> seeds;
  for (const v1::SeedGroup& group : comparison.seed_groups()) {
    Compared first = {group.jobs(0), ""};
    for (const v1::ComparedJob& job : comparison.jobs()) {
      const bool is_first = job.job() == group.jobs(0) && job.label() == group.label();
      if (is_first && job.one_of_several()) first.second = job.adapter();
    }
    seeds[first] = &group;
  }
  return seeds;
}

nlohmann::json DifferenceJson(const v1::PairedDifference& difference) {
  nlohmann::json json = {{"to_job", difference.to_job()}, {"metric", difference.metric()}};
  if (!difference.to_adapter().empty()) json["to_adapter"] = difference.to_adapter();
  if (!difference.not_comparable().empty()) {
    json["not_comparable"] = difference.not_comparable();
    return json;
  }
  json["mean"] = difference.mean();
  json["low"] = difference.low();
  json["high"] = difference.high();
  json["rows"] = difference.rows();
  if (difference.rows_needed() > 0) json["rows_needed"] = difference.rows_needed();
  if (!difference.note().empty()) json["note"] = difference.note();
  return json;
}

nlohmann::json ValidationJson(const v1::ValidationDifference& difference) {
  nlohmann::json json = {{"to_job", difference.to_job()}};
  if (!difference.not_comparable().empty()) {
    json["not_comparable"] = difference.not_comparable();
    return json;
  }
  if (!difference.limits().empty()) json["limits"] = difference.limits();
  if (!difference.scoring().empty()) json["scoring"] = difference.scoring();
  return json;
}

nlohmann::json SeedsJson(const v1::SeedGroup& group) {
  nlohmann::json json = {
      {"jobs", std::vector<std::string>(group.jobs().begin(), group.jobs().end())},
      {"seeds", std::vector<uint64_t>(group.seeds().begin(), group.seeds().end())},
      {"metrics", nlohmann::json::object()}};
  for (const v1::SeedGroup::Statistic& statistic : group.metrics()) {
    json["metrics"][statistic.metric()] = {{"mean", statistic.mean()},
                                           {"standard_deviation", statistic.standard_deviation()},
                                           {"low", statistic.low()},
                                           {"high", statistic.high()}};
  }
  return json;
}

nlohmann::json JobJson(const v1::ComparedJob& job) {
  nlohmann::json row = {
      {"job", job.job()}, {"label", job.label()}, {"metrics", nlohmann::json::object()}};
  for (const auto& [name, value] : job.metrics()) row["metrics"][name] = value;
  if (job.one_of_several()) row["adapter"] = job.adapter();
  if (job.training_job().empty()) return row;
  row["training_job"] = job.training_job();
  row["method"] = job.method();
  row["trainable_parameters"] = job.trainable_parameters();
  row["train_seconds"] = job.train_seconds();
  row["adapter"] = job.adapter();
  if (job.adapter_directory().empty()) return row;
  row["adapter_size_bytes"] = job.adapter_size_bytes();
  row["adapter_directory"] = job.adapter_directory();
  return row;
}

}  // namespace

Table ComparisonTable(const v1::CompareJobsResponse& comparison) {
  Table table({"METHOD", "TRAINED>?", "LOSS>", "ROUGE-1>", "ROUGE-2>", "ROUGE-L>", "ROUGE-LSUM>",
               "95 %>?", "TRAINING>?", "ADAPTER>?"});
  const Metrics* lead3 = nullptr;
  const Metrics* oracle = nullptr;
  for (const v1::ComparedJob& job : comparison.jobs()) {
    if (job.metrics().contains("lead3/rouge1")) lead3 = &job.metrics();
    if (job.metrics().contains("oracle/rouge1")) oracle = &job.metrics();
    const bool trained = !job.training_job().empty();
    AddRow(table, job.label(), trained ? FormatCount(job.trainable_parameters()) : "-",
           job.metrics(), "eval/", trained ? FormatSeconds(job.train_seconds()) : "-",
           job.adapter_size_bytes() > 0 ? FormatBytes(job.adapter_size_bytes()) : "-");
  }
  if (lead3 != nullptr) AddRow(table, "lead-3", "-", *lead3, "lead3/", "-", "-");
  if (oracle != nullptr) AddRow(table, "oracle", "-", *oracle, "oracle/", "-", "-");
  return table;
}

Table SeedTable(const v1::CompareJobsResponse& comparison) {
  Table table({"OVER SEEDS", "SEEDS~", "METRIC", "MEAN>", "DEVIATION>", "95 %>"});
  for (const v1::SeedGroup& group : comparison.seed_groups()) {
    const auto by_name = [&](const std::string& name) -> const v1::SeedGroup::Statistic* {
      for (const v1::SeedGroup::Statistic& one : group.metrics()) {
        if (one.metric() == name) return &one;
      }
      return nullptr;
    };
    for (const char* name : {"loss", "rouge1", "rouge2", "rougeL", "rougeLsum"}) {
      const v1::SeedGroup::Statistic* one = by_name(absl::StrCat("eval/", name));
      if (one == nullptr) continue;
      table.AddRow({OneLine(group.label(), kLabelColumns), absl::StrJoin(group.seeds(), ", "), name,
                    FormatNumber(one->mean(), 4), FormatNumber(one->standard_deviation(), 4),
                    absl::StrFormat("%.4f-%.4f", one->low(), one->high())});
    }
  }
  return table;
}

std::string DifferencesText(const v1::CompareJobsResponse& comparison) {
  std::string text;
  for (const v1::PairedDifference& difference : comparison.differences()) {
    absl::StrAppend(&text, difference.label(), ": ");
    if (!difference.not_comparable().empty()) {
      absl::StrAppend(&text, "not comparable, ", difference.not_comparable(), "\n");
      continue;
    }
    absl::StrAppendFormat(&text, "%s %+.3f, 95 %% interval %+.3f to %+.3f %s\n",
                          difference.metric(), difference.mean(), difference.low(),
                          difference.high(), RowsText(difference));
  }
  for (const v1::ValidationDifference& difference : comparison.validations()) {
    absl::StrAppend(&text, difference.label(), ": ");
    if (!difference.not_comparable().empty()) {
      absl::StrAppend(
          &text, "not comparable, validated on other rows: ", difference.not_comparable(), "\n");
      continue;
    }
    std::vector<std::string> parts;
    if (!difference.limits().empty()) parts.push_back(difference.limits());
    if (!difference.scoring().empty()) parts.push_back("for ROUGE, " + difference.scoring());
    absl::StrAppend(&text, "validated otherwise: ", absl::StrJoin(parts, "; "), "\n");
  }
  return text;
}

std::string ComparisonCsv(const v1::CompareJobsResponse& comparison) {
  const std::vector<std::string> metrics = {
      "eval/loss",   "eval/perplexity", "eval/rouge1",        "eval/rouge2",
      "eval/rougeL", "eval/rougeLsum",  "eval/rougeLsum_low", "eval/rougeLsum_high"};
  std::vector<std::string> header = {
      "job",           "label",   "training_job",      "method", "trainable_parameters",
      "train_seconds", "adapter", "adapter_size_bytes"};
  header.insert(header.end(), metrics.begin(), metrics.end());
  for (const char* name : {"difference_to", "difference_metric", "difference_mean",
                           "difference_low", "difference_high", "difference_rows",
                           "difference_rows_needed", "not_comparable", "difference_to_adapter"}) {
    header.emplace_back(name);
  }
  std::string csv = CsvLine(header);
  const auto differences = DifferencesOf(comparison);
  const auto validations = ValidationsOf(comparison);
  for (const v1::ComparedJob& job : comparison.jobs()) {
    const bool trained = !job.training_job().empty();
    std::vector<std::string> cells = {
        job.job(),
        job.label(),
        job.training_job(),
        job.method(),
        trained ? absl::StrCat(job.trainable_parameters()) : "",
        trained ? ExactNumber(job.train_seconds()) : "",
        job.adapter(),
        job.adapter_size_bytes() > 0 ? absl::StrCat(job.adapter_size_bytes()) : ""};
    for (const std::string& name : metrics) {
      cells.push_back(ExactNumber(MetricOf(job.metrics(), name)));
    }
    const auto found = differences.find(KeyOf(job));
    const auto validation = validations.find(job.job());
    std::string not_comparable;
    std::string to_adapter;
    if (validation != validations.end()) not_comparable = validation->second->not_comparable();
    if (found == differences.end()) {
      cells.resize(cells.size() + 7);
    } else {
      const v1::PairedDifference& difference = *found->second;
      const bool known = difference.not_comparable().empty();
      if (!known) not_comparable = difference.not_comparable();
      to_adapter = difference.to_adapter();
      cells.push_back(difference.to_job());
      cells.push_back(difference.metric());
      for (const double number : {difference.mean(), difference.low(), difference.high()}) {
        cells.push_back(known ? ExactNumber(number) : "");
      }
      cells.push_back(known ? absl::StrCat(difference.rows()) : "");
      cells.push_back(difference.rows_needed() > 0 ? absl::StrCat(difference.rows_needed()) : "");
    }
    cells.push_back(not_comparable);
    cells.push_back(to_adapter);
    csv += CsvLine(cells);
  }
  return csv;
}

std::string ComparisonJson(const v1::CompareJobsResponse& comparison) {
  const auto differences = DifferencesOf(comparison);
  const auto validations = ValidationsOf(comparison);
  const auto seeds = SeedsOf(comparison);
  std::string text;
  for (const v1::ComparedJob& job : comparison.jobs()) {
    nlohmann::json row = JobJson(job);
    if (const auto found = differences.find(KeyOf(job)); found != differences.end()) {
      row["difference"] = DifferenceJson(*found->second);
    }
    if (const auto found = validations.find(job.job()); found != validations.end()) {
      row["validation"] = ValidationJson(*found->second);
    }
    if (const auto found = seeds.find(KeyOf(job)); found != seeds.end()) {
      row["seeds"] = SeedsJson(*found->second);
    }
    absl::StrAppend(&text, row.dump(), "\n");
  }
  return text;
}

}  // namespace graft
