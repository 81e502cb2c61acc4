// graft-text-tool: gives common/text to the parity tests, which run the reference libraries beside
// it. Reads one JSON command a line on stdin, answers one JSON line each. For tests only.
//
//   {"op": "load", "folder": F}                        → {"vocab_size": N, "end_of_text_id": ID}
//   {"op": "encode", "texts": [T…], "parse_special": B} → {"ids": [[…]…]}
//   {"op": "decode", "ids": [[…]…], "skip_special": B}  → {"texts": [T…], "streamed": [T…]}
//   {"op": "stem", "words": [W…]}                      → {"stems": [S…]}
//   {"op": "rouge", "pairs": [[[TARGET…], PREDICTION]…], "stemmer": B}
//                             → {"scores": [[[P, R, F] of rouge1, rouge2, rougeL, rougeLsum]…],
//                             "seconds": X}
//   {"op": "bootstrap", "values": [V…], "seed": N}     → {"interval": [MEAN, LOW, HIGH]}
//   {"op": "bench", "file": F, "rounds": N}            → {"mb_per_second": X, "tokens": N}
// What fails answers {"error": MESSAGE}.

#include <chrono>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/bootstrap.h"
#include "common/text/bpe.h"
#include "common/text/porter_stemmer.h"
#include "common/text/rouge.h"
#include "tests/parity/line_tool.h"

namespace graft {
namespace {

using Json = nlohmann::json;

class Tool {
 public:
  absl::StatusOr<Json> Run(const Json& command) {
    const std::string op = command.at("op").get<std::string>();
    if (op == "load") return Load(command);
    if (op == "stem") return Stem(command);
    if (op == "rouge") return Rouge(command);
    if (op == "bootstrap") return Bootstrap(command);
    if (tokenizer_ == nullptr) return absl::FailedPreconditionError("no tokenizer is loaded");
    if (op == "encode") return Encode(command);
    if (op == "decode") return Decode(command);
    if (op == "bench") return Bench(command);
    return absl::InvalidArgumentError("unknown op " + op);
  }

 private:
  absl::StatusOr<Json> Load(const Json& command) {
    ASSIGN_OR_RETURN(BpeTokenizer tokenizer, BpeTokenizer::Load(command.at("folder")));
    tokenizer_ = std::make_unique<BpeTokenizer>(std::move(tokenizer));
    return Json{{"vocab_size", tokenizer_->vocab_size()},
                {"end_of_text_id", tokenizer_->end_of_text_id()}};
  }

  absl::StatusOr<Json> Encode(const Json& command) {
    BpeTokenizer::EncodeOptions options;
    options.parse_special_tokens = command.value("parse_special", true);
    Json ids = Json::array();
    for (const Json& text : command.at("texts")) {
      ASSIGN_OR_RETURN(std::vector<int32_t> encoded,
                       tokenizer_->Encode(text.get<std::string>(), options));
      ids.push_back(std::move(encoded));
    }
    return Json{{"ids", std::move(ids)}};
  }

  absl::StatusOr<Json> Decode(const Json& command) {
    Json texts = Json::array();
    Json streamed = Json::array();
    for (const Json& row : command.at("ids")) {
      const auto ids = row.get<std::vector<int32_t>>();
      texts.push_back(ToValidUtf8(command.value("skip_special", false)
                                      ? tokenizer_->DecodeWithoutSpecial(ids)
                                      : tokenizer_->Decode(ids)));
      StreamDecoder decoder(*tokenizer_);
      std::string stream;
      for (const int32_t id : ids) stream += decoder.Push(id);
      streamed.push_back(stream + decoder.Finish());
    }
    return Json{{"texts", std::move(texts)}, {"streamed", std::move(streamed)}};
  }

  absl::StatusOr<Json> Stem(const Json& command) {
    Json stems = Json::array();
    for (const Json& word : command.at("words"))
      stems.push_back(PorterStem(word.get<std::string>()));
    return Json{{"stems", std::move(stems)}};
  }

  absl::StatusOr<Json> Rouge(const Json& command) {
    const RougeOptions options = {.use_stemmer = command.at("stemmer").get<bool>()};
    const auto pairs =
        command.at("pairs").get<std::vector<std::pair<std::vector<std::string>, std::string>>>();
    std::vector<RougeScores> scores;
    const auto begin = std::chrono::steady_clock::now();
    for (const auto& [targets, prediction] : pairs) {
      scores.push_back(ScoreRouge(targets, prediction, options));
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    Json rows = Json::array();
    for (const RougeScores& score : scores) {
      Json row = Json::array();
      for (const RougeScore& type : {score.rouge1, score.rouge2, score.rouge_l, score.rouge_lsum}) {
        row.push_back({type.precision, type.recall, type.f});
      }
      rows.push_back(std::move(row));
    }
    return Json{{"scores", std::move(rows)}, {"seconds", seconds.count()}};
  }

  absl::StatusOr<Json> Bootstrap(const Json& command) {
    const auto values = command.at("values").get<std::vector<double>>();
    ASSIGN_OR_RETURN(const BootstrapInterval interval,
                     BootstrapMean(values, command.at("seed").get<uint64_t>()));
    return Json{{"interval", {interval.mean, interval.low, interval.high}}};
  }

  absl::StatusOr<Json> Bench(const Json& command) {
    std::ifstream file(command.at("file").get<std::string>(), std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    const std::string text = content.str();
    const int rounds = command.value("rounds", 1);
    size_t tokens = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (int round = 0; round < rounds; ++round) {
      ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_->Encode(text));
      tokens = ids.size();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    return Json{{"mb_per_second", text.size() * rounds / seconds.count() / 1e6},
                {"tokens", tokens}};
  }

  std::unique_ptr<BpeTokenizer> tokenizer_;
};

}  // namespace
}  // namespace graft

int main() {
  graft::Tool tool;
  return graft::AnswerLines([&](const graft::Json& command) { return tool.Run(command); });
}
