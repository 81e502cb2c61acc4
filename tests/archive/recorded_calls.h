#pragma once

// The calls that a worker of an earlier build made, as tests/archive/make.py wrote them down.

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace graft {

struct RecordedCall {
  std::string method;  // "LeaseJob".
  std::vector<std::string> requests;
  std::vector<std::string> answers;
};

// The folders worker/ of all archives, named by their dates. Never empty.
inline std::vector<std::string> RecordedWorkers() {
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(GRAFT_SOURCE_DIR "/tests/archive")) {
    const std::filesystem::path folder = entry.path() / "worker";
    if (std::filesystem::exists(folder)) folders.push_back(folder.string());
  }
  EXPECT_FALSE(folders.empty());
  return folders;
}

inline std::vector<RecordedCall> ReadRecordedCalls(const std::string& folder) {
  const auto decoded = [](const nlohmann::json& list) {
    std::vector<std::string> messages;
    for (const nlohmann::json& text : list) {
      EXPECT_TRUE(absl::Base64Unescape(text.get<std::string>(), &messages.emplace_back()));
    }
    return messages;
  };
  std::vector<RecordedCall> calls;
  std::ifstream file(absl::StrCat(folder, "/calls.jsonl"));
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json call = nlohmann::json::parse(line);
    const std::string method = call["method"];
    calls.push_back({method.substr(method.rfind('/') + 1), decoded(call["requests"]),
                     decoded(call["answers"])});
  }
  EXPECT_GT(calls.size(), 10u);
  return calls;
}

template <typename Message>
Message Parsed(const std::string& bytes) {
  Message message;
  EXPECT_TRUE(message.ParseFromString(bytes));
  // A field that this build does not know any more was renumbered or dropped.
  EXPECT_TRUE(message.GetReflection()->GetUnknownFields(message).empty());
  return message;
}

}  // namespace graft
