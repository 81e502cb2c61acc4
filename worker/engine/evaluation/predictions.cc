#include "worker/engine/evaluation/predictions.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/status_macros.h"
#include "common/text/rouge_table.h"

namespace graft {
namespace {

constexpr size_t kBufferBytes = 1 << 18;

// Keeps the order in which fields are written.
using Json = nlohmann::ordered_json;

void AddScores(const RougeScores& scores, Json* object) {
  for (const RougeType& type : kRougeTypes) {
    const RougeScore& score = scores.*type.scores;
    (*object)[type.name] = {
        {"precision", score.precision}, {"recall", score.recall}, {"f", score.f}};
  }
}

Json Baseline(const ScoredText& text) {
  Json object = {{"prediction", text.text}};
  AddScores(text.scores, &object);
  return object;
}

}  // namespace

std::string PredictionJson(const Prediction& prediction) {
  Json line = {{"index", prediction.index}, {"line", prediction.row->line}};
  if (!prediction.row->id.empty()) line["id"] = prediction.row->id;
  line["source"] = prediction.row->source;
  line["references"] = prediction.row->targets;
  line["prediction"] = prediction.prediction.text;
  line["new_tokens"] = prediction.new_tokens;
  line["ended"] = prediction.ended;
  line["prompt_tokens"] = prediction.prompt_tokens;
  line["source_tokens_cut"] = prediction.source_tokens_cut;
  AddScores(prediction.prediction.scores, &line);
  if (prediction.lead3) line["lead3"] = Baseline(*prediction.lead3);
  if (prediction.oracle) line["oracle"] = Baseline(*prediction.oracle);
  if (prediction.untuned) line["untuned"] = Baseline(*prediction.untuned);
  return line.dump();
}

absl::StatusOr<PredictionWriter> PredictionWriter::Create(const std::string& path) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  return PredictionWriter(std::move(file));
}

absl::Status PredictionWriter::Append(const Prediction& prediction) {
  buffer_ += PredictionJson(prediction);
  buffer_ += '\n';
  if (buffer_.size() < kBufferBytes) return absl::OkStatus();
  RETURN_IF_ERROR(file_.Append(buffer_));
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status PredictionWriter::Commit() {
  RETURN_IF_ERROR(file_.Append(buffer_));
  return file_.Commit();
}

}  // namespace graft
