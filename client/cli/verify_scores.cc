#include "client/cli/verify_scores.h"

#include <fstream>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/text/rouge_table.h"
#include "common/text/samples_hash.h"
#include "common/text/sentences.h"

namespace graft {
namespace {

using Json = nlohmann::json;

// Rows that a difference names at the most.
constexpr size_t kMaxRowsNamed = 8;

Json ScoresJson(const RougeScores& scores) {
  Json json = Json::object();
  for (const RougeType& type : kRougeTypes) {
    const RougeScore& score = scores.*type.scores;
    json[type.name] = {{"precision", score.precision}, {"recall", score.recall}, {"f", score.f}};
  }
  return json;
}

Json ScoresIn(const Json& object) {
  Json json = Json::object();
  for (const RougeType& type : kRougeTypes) {
    if (object.contains(type.name)) json[type.name] = object[type.name];
  }
  return json;
}

struct Texts {
  std::vector<std::string> references;
  std::string prediction;
};

absl::StatusOr<Texts> TextsOf(const Json& row) {
  if (!row.is_object() || !row.contains("references") || !row["references"].is_array() ||
      !row.contains("prediction") || !row["prediction"].is_string()) {
    return absl::InvalidArgumentError("no object with references and prediction");
  }
  Texts texts;
  for (const Json& reference : row["references"]) {
    if (!reference.is_string()) return absl::InvalidArgumentError("references: not all are texts");
    texts.references.push_back(reference.get<std::string>());
  }
  texts.prediction = row["prediction"].get<std::string>();
  return texts;
}

class Recomputation {
 public:
  explicit Recomputation(const Json& results) : results_(results) {
    const Json::json_pointer stemmer("/fingerprint/use_stemmer");
    // Left out by protobuf's JSON when false.
    options_.use_stemmer = results.contains(stemmer) && results[stemmer] == true;
  }

  absl::Status AddLine(const std::string& line, int64_t number) {
    const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    absl::StatusOr<Texts> texts = TextsOf(row);
    if (!texts.ok()) return Annotate(texts.status(), absl::StrCat("line ", number));
    hash_.Add(texts->references);
    Score(row, *texts, "eval/", number);
    for (const auto& [name, prefix] :
         {std::pair{"lead3", "lead3/"}, {"oracle", "oracle/"}, {"untuned", "untuned/"}}) {
      if (!row.contains(name)) continue;
      absl::StatusOr<Texts> baseline =
          TextsOf(Json{{"references", row["references"]},
                       {"prediction", row[name].value("prediction", Json())}});
      if (!baseline.ok())
        return Annotate(baseline.status(), absl::StrCat("line ", number, ": ", name));
      Score(row[name], *baseline, prefix, number);
    }
    if (row.contains("source") && row["source"].is_string()) {
      const auto source = row["source"].get<std::string>();
      if (row.contains("lead3") && LeadSentences(source, 3) != row["lead3"]["prediction"]) {
        lead3_differs_.push_back(number);
      }
      if (row.contains("oracle") &&
          ExtractiveOracle(source, texts->references, 3, options_) != row["oracle"]["prediction"]) {
        oracle_differs_.push_back(number);
      }
    }
    ++rows_;
    return absl::OkStatus();
  }

  RecomputedScores Finish() {
    RecomputedScores scores;
    scores.emplace_back("number of predictions",
                        absl::StrCat(results_.value("num_samples", int64_t{0})),
                        absl::StrCat(rows_));
    const Json::json_pointer samples("/fingerprint/samples_sha256");
    scores.emplace_back("hash of the references",
                        results_.contains(samples) ? results_[samples].dump() : "none",
                        Json(hash_.Hex()).dump());
    for (const auto& [prefix, lines] : differing_) {
      scores.emplace_back(absl::StrCat("scores of the rows, ", prefix), "equal ones", Lines(lines));
    }
    if (tables_.count("lead3/") > 0) {
      scores.emplace_back("first three sentences of the sources", "equal ones",
                          Lines(lead3_differs_));
    }
    if (tables_.count("oracle/") > 0) {
      scores.emplace_back("extractive oracle of the sources", "equal ones", Lines(oracle_differs_));
    }
    Means(scores);
    return scores;
  }

 private:
  static std::string Lines(const std::vector<int64_t>& lines) {
    if (lines.empty()) return "equal ones";
    const size_t named = std::min(lines.size(), kMaxRowsNamed);
    return absl::StrCat(
        "others in ", lines.size(), " rows: line ",
        absl::StrJoin(lines.begin(), lines.begin() + static_cast<int64_t>(named), ", "),
        named < lines.size() ? ", ..." : "");
  }

  void Score(const Json& recorded, const Texts& texts, const std::string& prefix, int64_t number) {
    const RougeScores scores = ScoreRouge(texts.references, texts.prediction, options_);
    tables_[prefix].Add(scores);
    std::vector<int64_t>& differing = differing_[prefix];
    if (ScoresIn(recorded) != ScoresJson(scores)) differing.push_back(number);
  }

  // Every metric of ROUGE that is recorded, and every one that is not but should be.
  void Means(RecomputedScores& scores) const {
    const Json recorded = results_.value("metrics", Json::object());
    std::map<std::string, double> computed;
    for (const auto& [prefix, table] : tables_) table.Summarise(prefix, &computed);
    std::map<std::string, std::pair<std::string, std::string>> pairs;
    for (const auto& [name, value] : recorded.items()) {
      if (absl::StrContains(name, "/rouge")) pairs[name] = {value.dump(), "none"};
    }
    for (const auto& [name, value] : computed) {
      auto& pair = pairs.try_emplace(name, "none", "none").first->second;
      pair.second = Json(value).dump();
    }
    for (const auto& [name, pair] : pairs) scores.emplace_back(name, pair.first, pair.second);
  }

  const Json& results_;
  RougeOptions options_;
  int64_t rows_ = 0;
  SamplesHash hash_;
  std::map<std::string, RougeTable> tables_;               // By prefix.
  std::map<std::string, std::vector<int64_t>> differing_;  // Lines, by prefix.
  std::vector<int64_t> lead3_differs_, oracle_differs_;
};

}  // namespace

absl::StatusOr<RecomputedScores> RecomputeScores(const std::string& predictions_path,
                                                 const nlohmann::json& results) {
  std::ifstream file(predictions_path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(predictions_path, " cannot be opened"));
  Recomputation recomputation(results);
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    const absl::Status added = recomputation.AddLine(line, number);
    if (!added.ok()) return Annotate(added, predictions_path);
  }
  return recomputation.Finish();
}

}  // namespace graft
