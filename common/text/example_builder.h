#pragma once

// From a row's texts to the ids a model trains on or is prompted with (training.md, "An example"):
//
//   prompt = template with {source}          target = " " + target text + <|endoftext|>
//
// The template's two parts, the source and the target are encoded apart and joined. The source is
// cut from its end, at a token. The server's preview, training, evaluation and generation all cut
// here and nowhere else.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/bpe.h"

namespace graft {

struct ExampleOptions {
  std::string prompt_template = "{source}\nTL;DR:";  // Holds "{source}" exactly once.
  int64_t max_source_tokens = 512;  // Of the prompt, the template's own tokens included.
  int64_t max_target_tokens = 128;  // Of the target, its <|endoftext|> included.
  int64_t max_total_tokens = 1024;  // n_positions less the soft prompt's vectors.
};

struct TokenExample {
  std::vector<int32_t> ids;  // Prompt, then target.
  int64_t num_prompt_tokens = 0;
  int64_t source_tokens_cut = 0;
  int64_t target_tokens_cut = 0;
};

struct TokenPrompt {
  std::vector<int32_t> ids;
  int64_t source_tokens_cut = 0;
};

// Immutable and thread-safe. The tokenizer must outlive it.
class ExampleBuilder {
 public:
  // INVALID_ARGUMENT, naming the spec's field: "{source}" is not in the template exactly once; the
  // template is not UTF-8; a limit is below what template, one token of source and the shortest
  // target need.
  static absl::StatusOr<ExampleBuilder> Create(const BpeTokenizer& tokenizer,
                                               const ExampleOptions& options);

  // Replaces *example; its buffers are reused. What does not fit max_total_tokens is taken from the
  // source. INVALID_ARGUMENT: a text is not UTF-8 or cannot be encoded.
  absl::Status Build(absl::string_view source, absl::string_view target,
                     TokenExample* example) const;

  // The prompt alone, cut to min(max_source_tokens, max_tokens).
  // INVALID_ARGUMENT as above, or max_tokens leaves no room for the template.
  absl::StatusOr<TokenPrompt> BuildPrompt(absl::string_view source, int64_t max_tokens) const;

  // Tokens of the template alone.
  int64_t template_tokens() const { return static_cast<int64_t>(prefix_.size() + suffix_.size()); }

 private:
  ExampleBuilder(const BpeTokenizer& tokenizer, ExampleOptions options)
      : tokenizer_(&tokenizer), options_(std::move(options)) {}

  // Appends prefix, source and suffix in at most `budget` tokens; returns the tokens cut.
  absl::StatusOr<int64_t> AppendPrompt(absl::string_view source, int64_t budget,
                                       std::vector<int32_t>* ids) const;

  const BpeTokenizer* tokenizer_;
  ExampleOptions options_;
  std::vector<int32_t> prefix_;  // The template before "{source}".
  std::vector<int32_t> suffix_;
};

}  // namespace graft
