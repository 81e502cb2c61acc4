#pragma once

// Texts for EngineSession::GenerateTexts, and what became of them.

#include <functional>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "worker/engine/session/session.h"

namespace graft {

class RecordedText : public TextTask {
 public:
  explicit RecordedText(GenerateRequest request) : request_(std::move(request)) {}

  const GenerateRequest& request() const override { return request_; }
  absl::Status Check() override { return check; }
  void OnText(const TextPiece& piece) override {
    text += piece.text;
    if (piece.id < 0) return;
    ids.push_back(piece.id);
    log_probabilities.push_back(piece.log_probability);
    if (on_token) on_token();
  }
  void OnEnd(const absl::StatusOr<GenerateOutcome>& outcome) override { end = outcome; }

  // For the test to set.
  absl::Status check;
  std::function<void()> on_token;

  std::string text;
  std::vector<int32_t> ids;
  std::vector<float> log_probabilities;
  std::optional<absl::StatusOr<GenerateOutcome>> end;

 private:
  GenerateRequest request_;
};

class RecordedTexts : public TextSource {
 public:
  RecordedText& Add(GenerateRequest request) {
    all.emplace_back(std::move(request));
    return all.back();
  }
  TextTask* Next() override {
    if (given_ == all.size()) return nullptr;
    return &*std::next(all.begin(), static_cast<int64_t>(given_++));
  }

  std::list<RecordedText> all;

 private:
  size_t given_ = 0;
};

// The text, made by itself.
inline RecordedText MakeText(EngineSession& session, const GenerateRequest& request) {
  RecordedTexts texts;
  texts.Add(request);
  NoStop stop;
  const absl::Status made = session.GenerateTexts(texts, stop);
  EXPECT_TRUE(made.ok()) << made;
  EXPECT_TRUE(texts.all.front().end.has_value());
  return texts.all.front();
}

}  // namespace graft
