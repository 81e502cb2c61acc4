#pragma once

// What `graft generate --prompts FILE` reads, sends and prints.

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "graft/v1/adapter.pb.h"

namespace graft {

struct Prompt {
  int64_t line = 0;  // Of its file, from 1.
  std::string text;
  std::string id;  // The field `id` of JSON lines; empty: none.
};

// Every prompt of a file, in its order: the field `prompt` of JSON lines, else each line of a text
// (SummaryReader says which file is which). All of them, before the first text is made: a bad line
// costs no work. INVALID_ARGUMENT: what SummaryReader finds, an empty prompt, no prompt, too many;
// each names the file, and the line.
absl::StatusOr<std::vector<Prompt>> ReadPrompts(const std::string& path);

// Whose prompt each request of a batch has.
struct PromptBatch {
  v1::GenerateBatchRequest request;
  std::vector<const Prompt*> prompts;  // By request.
};

// The batches to send, one after the other: each prompt in a copy of each of `requests` (one an
// adapter), in the order of the file. `prompts` outlives them. INVALID_ARGUMENT: a prompt that no
// message holds, by its line.
absl::StatusOr<std::vector<PromptBatch>> BatchesOf(
    const std::string& path, const std::vector<Prompt>& prompts,
    const std::vector<v1::GenerateRequest>& requests);

// `status` of a batch with the file's lines in the place of "requests[3].prompt".
absl::Status WithLines(const absl::Status& status, const std::string& path,
                       const PromptBatch& batch);

// Makes a JSON object a line of each text of a batch, in their order: line, id, prompt, adapter
// (base_model without one), sequence where there are several, and what came of it, pieces together.
class PromptJson {
 public:
  explicit PromptJson(const PromptBatch& batch);

  // The lines of the texts that have ended, up to the first that has not.
  std::string Take(const v1::GenerateBatchResponse& message);
  // The first error of a text; each is told in its place, too.
  const absl::Status& error() const { return error_; }

 private:
  struct Text {
    int request = 0;
    int sequence = 0;
    v1::GenerateResponse made;
    std::string error;
    bool ended = false;
  };
  std::string LineOf(const Text& text) const;

  const PromptBatch& batch_;
  std::vector<Text> texts_;
  std::map<std::pair<int, int>, size_t> places_;  // By request and sequence.
  size_t turn_ = 0;
  absl::Status error_;
};

}  // namespace graft
