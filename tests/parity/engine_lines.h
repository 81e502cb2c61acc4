#pragma once

// What programs share that give the engine's parts to Python, a JSON command a line.

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/parity/line_tool.h"
#include "worker/engine/data/example_source.h"
#include "worker/engine/gpt2/runtime.h"

namespace graft {

// Rows given as [[[ID…], PROMPT_TOKENS]…].
class JsonRows : public ExampleSource {
 public:
  explicit JsonRows(const nlohmann::json& rows)
      : rows_(rows.get<std::vector<std::pair<std::vector<int32_t>, int64_t>>>()) {}
  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  Example Get(int64_t index) const override {
    return {rows_.at(index).first, rows_.at(index).second};
  }

 private:
  std::vector<std::pair<std::vector<int32_t>, int64_t>> rows_;
};

// AnswerLines, in which what LibTorch throws is an answer, too.
inline int AnswerEngineLines(
    const std::function<absl::StatusOr<nlohmann::json>(const nlohmann::json&)>& run) {
  return AnswerLines([&](const nlohmann::json& command) {
    absl::StatusOr<nlohmann::json> result = nlohmann::json();
    const absl::Status status = CatchTorchErrors([&] {
      result = run(command);
      return result.status();
    });
    return status.ok() ? result : status;
  });
}

}  // namespace graft
