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

constexpr int64_t kBatchesAtOnce = 8;

// `positions`: what the model has beside virtual tokens.
absl::StatusOr<ExampleBuilder> MakeBuilder(const SummaryOptions& options, int64_t positions) {
  return ExampleBuilder::Create(*options.tokenizer,
                                {options.data.prompt_template, options.data.max_source_tokens,
                                 options.data.max_target_tokens, positions});
}

}  // namespace

int64_t RowsAtOnce(const EvaluationConfig& evaluation) {
  return kBatchesAtOnce * evaluation.generation_batch_size;
}

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

absl::StatusOr<std::vector<std::vector<Summary>>> Summarise(
    std::span<const Gpt2Network* const> networks, const SummaryOptions& options,
    std::span<const DataRow> rows, int64_t first_row, StopToken& stop) {
  const int64_t max_new_tokens = options.evaluation.max_new_tokens;
  std::vector<std::vector<Summary>> summaries(networks.size());
  std::vector<std::vector<int32_t>> ids;
  for (size_t of = 0; of < networks.size(); ++of) {
    const int64_t positions = networks[of]->n_positions() - networks[of]->num_virtual_tokens();
    ASSIGN_OR_RETURN(const ExampleBuilder builder, MakeBuilder(options, positions));
    for (const DataRow& row : rows) {
      stop.pulse().Beat();
      absl::StatusOr<TokenPrompt> prompt =
          builder.BuildPrompt(row.source, positions - max_new_tokens);
      if (!prompt.ok()) return Annotate(prompt.status(), absl::StrCat("line ", row.line));
      Summary& summary = summaries[of].emplace_back();
      summary.prompt_tokens = static_cast<int64_t>(prompt->ids.size());
      summary.source_tokens_cut = prompt->source_tokens_cut;
      ids.push_back(std::move(prompt->ids));
    }
  }
  std::vector<Prompt> prompts;
  for (const std::vector<int32_t>& of_prompt : ids) {
    const size_t row = prompts.size() % rows.size();
    prompts.push_back(
        {networks[prompts.size() / rows.size()], of_prompt, first_row + static_cast<int64_t>(row)});
  }
  GeneratorOptions generator;
  generator.generation = options.evaluation.generation;
  generator.max_new_tokens = max_new_tokens;
  generator.batch_size = options.evaluation.generation_batch_size;
  generator.end_of_text_id = options.tokenizer->end_of_text_id();
  generator.on_done = options.on_texts;
  ASSIGN_OR_RETURN(const std::vector<Generated> generated, Generate(prompts, generator, stop));
  auto from = generated.begin();
  for (std::vector<Summary>& of_network : summaries) {
    for (Summary& summary : of_network) {
      const std::string text = ToValidUtf8(options.tokenizer->DecodeWithoutSpecial(from->ids));
      summary.text = std::string(absl::StripAsciiWhitespace(text));
      summary.new_tokens = static_cast<int64_t>(from->ids.size());
      summary.ended = from->ended;
      ++from;
    }
  }
  return summaries;
}

}  // namespace graft
