#include "client/cli/prompt_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/summary_reader.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"

namespace graft {
namespace {

constexpr size_t kMaxPrompts = 100'000;
// Together in one call. Others wait for texts, too (graft-server --max-waiting-texts).
constexpr int kMaxTextsAtOnce = 64;
constexpr size_t kMaxBytesAtOnce = 3 << 20;  // A message has 4 MiB.

absl::Status LineError(const std::string& path, int64_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": line ", line, ": ", what));
}

// 3 of "requests[3].prompt".
int RequestOf(absl::string_view field) {
  constexpr absl::string_view kPrefix = "requests[";
  const size_t end = field.find(']');
  int request = -1;
  const bool named = absl::StartsWith(field, kPrefix) && end != absl::string_view::npos &&
                     absl::SimpleAtoi(field.substr(kPrefix.size(), end - kPrefix.size()), &request);
  return named ? request : -1;
}

int SequencesOf(const v1::GenerateRequest& request) {
  return std::max(1, request.num_return_sequences());
}

}  // namespace

absl::StatusOr<std::vector<Prompt>> ReadPrompts(const std::string& path) {
  ASSIGN_OR_RETURN(SummaryReader reader, SummaryReader::Open(path, {.fields = {"prompt"}}));
  std::vector<Prompt> prompts;
  SummaryRow row;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.Next(&row));
    if (!more) break;
    if (row.texts[0].empty()) return LineError(path, row.line, "an empty prompt");
    if (prompts.size() == kMaxPrompts) {
      return LineError(path, row.line, absl::StrCat("more than ", kMaxPrompts, " prompts"));
    }
    prompts.push_back({row.line, std::move(row.texts[0]), std::move(row.id)});
  }
  if (prompts.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": has no prompt"));
  return prompts;
}

absl::StatusOr<std::vector<PromptBatch>> BatchesOf(
    const std::string& path, const std::vector<Prompt>& prompts,
    const std::vector<v1::GenerateRequest>& requests) {
  std::vector<PromptBatch> batches;
  int texts = 0;
  size_t bytes = 0;
  for (const Prompt& prompt : prompts) {
    int more_texts = 0;
    for (const v1::GenerateRequest& request : requests) more_texts += SequencesOf(request);
    const size_t more_bytes = prompt.text.size() * requests.size();
    if (more_bytes > kMaxBytesAtOnce) {
      return LineError(path, prompt.line,
                       absl::StrCat("the prompt has ", prompt.text.size(), " bytes; at most ",
                                    kMaxBytesAtOnce / requests.size(), " can be sent"));
    }
    const bool fits =
        texts + more_texts <= kMaxTextsAtOnce && bytes + more_bytes <= kMaxBytesAtOnce;
    if (batches.empty() || !fits) {
      batches.emplace_back();
      texts = 0;
      bytes = 0;
    }
    texts += more_texts;
    bytes += more_bytes;
    for (const v1::GenerateRequest& request : requests) {
      v1::GenerateRequest& added = *batches.back().request.add_requests();
      added = request;
      added.set_prompt(prompt.text);
      batches.back().prompts.push_back(&prompt);
    }
  }
  return batches;
}

absl::Status WithLines(const absl::Status& status, const std::string& path,
                       const PromptBatch& batch) {
  Violations violations;
  for (const auto& violation : FieldViolationsOf(status)) {
    const int request = RequestOf(violation.field());
    if (request < 0 || request >= static_cast<int>(batch.prompts.size())) return status;
    const std::string field = violation.field().substr(violation.field().find(']') + 1);
    violations.Add(absl::StrCat(path, ": line ", batch.prompts[request]->line),
                   absl::StrCat(field.empty() ? "" : absl::StrCat(field.substr(1), " "),
                                violation.description()),
                   violation.reason());
  }
  return violations.empty() ? status : violations.ToStatus();
}

PromptJson::PromptJson(const PromptBatch& batch) : batch_(batch) {
  for (int request = 0; request < batch.request.requests_size(); ++request) {
    for (int i = 0; i < SequencesOf(batch.request.requests(request)); ++i) {
      places_[{request, i}] = texts_.size();
      Text& text = texts_.emplace_back();
      text.request = request;
      text.sequence = i;
    }
  }
}

std::string PromptJson::Take(const v1::GenerateBatchResponse& message) {
  const auto place = places_.find({message.row(), message.sequence()});
  if (place == places_.end()) return "";
  Text& text = texts_[place->second];
  if (message.has_error()) {
    const absl::Status status = FromRpcStatus(message.error());
    if (error_.ok()) error_ = status;
    text.error = std::string(status.message());
    text.ended = true;
  } else {
    const std::string before = text.made.text();
    text.made.MergeFrom(message.response());  // Of lists the pieces come together.
    text.made.set_text(before + message.response().text());
    text.ended = message.response().done();
  }
  std::string lines;
  for (; turn_ < texts_.size() && texts_[turn_].ended; ++turn_) lines += LineOf(texts_[turn_]);
  return lines;
}

std::string PromptJson::LineOf(const Text& text) const {
  const v1::GenerateRequest& request = batch_.request.requests(text.request);
  const Prompt& prompt = *batch_.prompts[text.request];
  nlohmann::ordered_json line = {{"line", prompt.line}};
  if (!prompt.id.empty()) line["id"] = prompt.id;
  line["prompt"] = prompt.text;
  if (request.adapter().empty()) {
    line["base_model"] = request.base_model();
  } else {
    line["adapter"] = request.adapter();
  }
  if (SequencesOf(request) > 1) line["sequence"] = text.sequence;
  line["text"] = text.made.text();
  if (request.log_probabilities()) {
    line["ids"] = std::vector<int32_t>(text.made.ids().begin(), text.made.ids().end());
    line["log_probabilities"] = std::vector<float>(text.made.log_probabilities().begin(),
                                                   text.made.log_probabilities().end());
  }
  if (!text.error.empty()) {
    line["error"] = text.error;
    return line.dump() + "\n";
  }
  line["finish_reason"] = text.made.finish_reason();
  line["prompt_tokens"] = text.made.prompt_tokens();
  line["new_tokens"] = text.made.new_tokens();
  if (text.made.prompt_tokens_cut() > 0) line["prompt_tokens_cut"] = text.made.prompt_tokens_cut();
  return line.dump() + "\n";
}

}  // namespace graft
