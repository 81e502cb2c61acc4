#include "common/formats/trainer_state.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/formats/json_util.h"

namespace graft {
namespace {

using nlohmann::json;

constexpr char kTrain[] = "train/";
constexpr int64_t kReferenceInterval = 500;  // TrainerState's own default
constexpr char kEmptyLog[] = "\n  \"log_history\": [";
constexpr char kEntryIndent[] = "\n    ";

// Python's json.dumps writes NaN and Infinity, which no JSON parser must take; null says as much.
json FiniteNumber(double value) { return std::isfinite(value) ? json(value) : json(); }

std::string TrainerName(const std::string& name) {
  for (const char* plain : {"train/loss", "train/grad_norm", "train/learning_rate"}) {
    if (name == plain) return name.substr(sizeof(kTrain) - 1);
  }
  return absl::StrReplaceAll(name, {{"/", "_"}});
}

// The entry of a row's training metrics, or of all its others; empty when it has none of them.
json LogEntry(const MetricRow& row, bool train) {
  json entry = json::object();
  for (const auto& [name, value] : row.values) {
    if (absl::StartsWith(name, kTrain) == train) entry[TrainerName(name)] = FiniteNumber(value);
  }
  if (entry.empty()) return entry;
  entry["epoch"] = FiniteNumber(row.epoch);
  entry["step"] = row.step;
  return entry;
}

template <typename T>
json OrNull(const std::optional<T>& value) {
  return value.has_value() ? json(*value) : json();
}

}  // namespace

std::string TrainerStateJson(const std::vector<MetricRow>& rows, TrainerStateInfo info) {
  info.global_step = rows.empty() ? 0 : rows.back().step;
  info.epoch = rows.empty() ? 0 : rows.back().epoch;
  std::string text;
  TrainerStateWriter writer(info, text);
  for (const MetricRow& row : rows) writer.Add(row);
  writer.Finish();
  return text;
}

TrainerStateWriter::TrainerStateWriter(const TrainerStateInfo& info, std::string& out) : out_(out) {
  const int64_t eval_steps = info.eval_steps > 0 ? info.eval_steps : kReferenceInterval;
  const json state = {
      {"best_global_step", OrNull(info.best_global_step)},
      {"best_metric", info.best_metric.has_value() ? FiniteNumber(*info.best_metric) : json()},
      {"best_model_checkpoint", nullptr},
      {"epoch", FiniteNumber(info.epoch)},
      {"eval_steps", eval_steps},
      {"global_step", info.global_step},
      {"is_hyper_param_search", false},
      {"is_local_process_zero", true},
      {"is_world_process_zero", true},
      {"log_history", json::array()},
      {"logging_steps", 1},
      {"max_steps", info.max_steps},
      {"num_input_tokens_seen", 0},
      {"num_train_epochs", info.num_train_epochs},
      {"save_steps", kReferenceInterval},
      {"stateful_callbacks", json::object()},
      {"total_flos", 0.0},
      {"train_batch_size", info.train_batch_size},
      {"trial_name", nullptr},
      {"trial_params", nullptr},
  };
  const std::string text = PythonJson(state) + "\n";
  const size_t middle = text.find(kEmptyLog) + sizeof(kEmptyLog) - 1;
  out_.append(text, 0, middle);
  tail_ = text.substr(middle);
}

void TrainerStateWriter::Add(const MetricRow& row) {
  for (const bool train : {true, false}) {
    const json entry = LogEntry(row, train);
    if (entry.empty()) continue;
    // JSON's strings hold no newline, so that each one begins a line to be indented.
    absl::StrAppend(&out_, empty_ ? "" : ",", kEntryIndent,
                    absl::StrReplaceAll(PythonJson(entry), {{"\n", kEntryIndent}}));
    empty_ = false;
  }
}

void TrainerStateWriter::Finish() { absl::StrAppend(&out_, empty_ ? "" : "\n  ", tail_); }

}  // namespace graft
