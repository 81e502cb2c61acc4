#pragma once

// A test program that answers one JSON command a line on stdin with one JSON line on stdout
// (tests/parity/programs.py asks it).

#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace graft {

// Answers until stdin ends. What `run` refuses, or finds no JSON of the right kind in, answers
// {"error": MESSAGE, "code": NAME}.
inline int AnswerLines(
    const std::function<absl::StatusOr<nlohmann::json>(const nlohmann::json&)>& run) {
  using Json = nlohmann::json;
  std::string line;
  while (std::getline(std::cin, line)) {
    Json answer;
    try {
      absl::StatusOr<Json> result = run(Json::parse(line));
      answer = result.ok() ? *std::move(result)
                           : Json{{"error", std::string(result.status().message())},
                                  {"code", absl::StatusCodeToString(result.status().code())}};
    } catch (const Json::exception& error) {
      answer = {{"error", error.what()}, {"code", "BAD_COMMAND"}};
    }
    // In ASCII.
    std::cout << answer.dump(-1, ' ', true, Json::error_handler_t::replace) << std::endl;
  }
  return 0;
}

}  // namespace graft
