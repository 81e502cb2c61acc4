#include "worker/engine/evaluation/summaries.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/example_builder.h"
#include "worker/engine/generation/generator.h"

namespace graft {
namespace {

// `positions`: what the model has beside virtual tokens.
absl::StatusOr<ExampleBuilder> MakeBuilder(const SummaryOptions& options, int64_t positions) {
  return ExampleBuilder::Create(*options.tokenizer,
                                {options.data.prompt_template, options.data.max_source_tokens,
                                 options.data.max_target_tokens, positions});
}

}  // namespace

absl::Status CheckRoomForPrompts(const SummaryOptions& options, int64_t n_positions,
                                 int64_t num_virtual_tokens) {
  const int64_t positions = n_positions - num_virtual_tokens;
  ASSIGN_OR_RETURN(const ExampleBuilder builder, MakeBuilder(options, positions));
  const int64_t least = builder.template_tokens() + 1;
  const int64_t most = positions - least;
  if (options.evaluation.max_new_tokens <= most) return absl::OkStatus();
  // The builder has seen to it that template, source and a target's token fit: most is 1 or more.
  return absl::InvalidArgumentError(
      absl::StrCat("evaluation.max_new_tokens: ", options.evaluation.max_new_tokens,
                   " leaves no room for a prompt: of the model's ", n_positions, " positions ",
                   num_virtual_tokens, " are virtual tokens, and template and source need ", least,
                   " at least; at most ", most, " is possible"));
}

absl::StatusOr<std::vector<Summary>> Summarise(const Gpt2Network& network,
                                               const SummaryOptions& options,
                                               std::span<const DataRow> rows, int64_t first_row,
                                               StopToken& stop) {
  const int64_t positions = network.n_positions() - network.num_virtual_tokens();
  const int64_t max_new_tokens = options.evaluation.max_new_tokens;
  ASSIGN_OR_RETURN(const ExampleBuilder builder, MakeBuilder(options, positions));
  std::vector<Summary> summaries(rows.size());
  std::vector<std::vector<int32_t>> prompts(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    stop.pulse().Beat();
    absl::StatusOr<TokenPrompt> prompt =
        builder.BuildPrompt(rows[i].source, positions - max_new_tokens);
    if (!prompt.ok()) return Annotate(prompt.status(), absl::StrCat("line ", rows[i].line));
    summaries[i].prompt_tokens = static_cast<int64_t>(prompt->ids.size());
    summaries[i].source_tokens_cut = prompt->source_tokens_cut;
    prompts[i] = std::move(prompt->ids);
  }
  GeneratorOptions generator;
  generator.generation = options.evaluation.generation;
  generator.max_new_tokens = max_new_tokens;
  generator.batch_size = options.evaluation.generation_batch_size;
  generator.end_of_text_id = options.tokenizer->end_of_text_id();
  generator.first_row = first_row;
  generator.on_done = options.on_rows;
  ASSIGN_OR_RETURN(const std::vector<Generated> generated,
                   Generate(network, prompts, generator, stop));
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string text = ToValidUtf8(options.tokenizer->DecodeWithoutSpecial(generated[i].ids));
    summaries[i].text = std::string(absl::StripAsciiWhitespace(text));
    summaries[i].new_tokens = static_cast<int64_t>(generated[i].ids.size());
    summaries[i].ended = generated[i].ended;
  }
  return summaries;
}

}  // namespace graft
