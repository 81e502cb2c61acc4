#include "common/text/example_builder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr absl::string_view kPlaceholder = "{source}";

absl::Status CheckLimits(const ExampleOptions& options, int64_t template_tokens) {
  if (options.max_source_tokens < template_tokens + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.max_source_tokens: ", options.max_source_tokens,
                     " leaves no token for the source; the template alone takes ", template_tokens,
                     ", so at least ", template_tokens + 1, " is needed"));
  }
  if (options.max_target_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.max_target_tokens: ", options.max_target_tokens,
                     " must be at least 1 (the target's <|endoftext|>)"));
  }
  if (options.max_total_tokens < template_tokens + 1 + options.max_target_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.max_target_tokens: ", options.max_target_tokens, " target tokens, ",
                     template_tokens, " of the template and one of the source do not fit the ",
                     options.max_total_tokens, " positions that the model has for text"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ExampleBuilder> ExampleBuilder::Create(const BpeTokenizer& tokenizer,
                                                      const ExampleOptions& options) {
  const absl::string_view text = options.prompt_template;
  const size_t at = text.find(kPlaceholder);
  if (at == absl::string_view::npos ||
      text.find(kPlaceholder, at + kPlaceholder.size()) != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("data.prompt_template: \"", text,
                                                   "\" must contain \"{source}\" exactly once"));
  }
  const absl::string_view before = text.substr(0, at);
  const absl::string_view after = text.substr(at + kPlaceholder.size());
  ExampleBuilder builder(tokenizer, options);
  const BpeTokenizer::EncodeOptions encode;
  RETURN_IF_ERROR(
      Annotate(tokenizer.EncodeTo(before, encode, &builder.prefix_), "data.prompt_template"));
  RETURN_IF_ERROR(
      Annotate(tokenizer.EncodeTo(after, encode, &builder.suffix_), "data.prompt_template"));
  RETURN_IF_ERROR(CheckLimits(options, builder.template_tokens()));
  return builder;
}

absl::StatusOr<int64_t> ExampleBuilder::AppendPrompt(absl::string_view source, int64_t budget,
                                                     std::vector<int32_t>* ids) const {
  ids->insert(ids->end(), prefix_.begin(), prefix_.end());
  const size_t begin = ids->size();
  RETURN_IF_ERROR(tokenizer_->EncodeTo(source, BpeTokenizer::EncodeOptions(), ids));
  const int64_t have = static_cast<int64_t>(ids->size() - begin);
  const int64_t keep = std::min(have, std::max<int64_t>(0, budget - template_tokens()));
  ids->resize(begin + static_cast<size_t>(keep));
  ids->insert(ids->end(), suffix_.begin(), suffix_.end());
  return have - keep;
}

absl::Status ExampleBuilder::Build(absl::string_view source, absl::string_view target,
                                   TokenExample* example) const {
  std::vector<int32_t> target_ids;
  RETURN_IF_ERROR(
      tokenizer_->EncodeTo(absl::StrCat(" ", target), BpeTokenizer::EncodeOptions(), &target_ids));
  const int64_t room = options_.max_target_tokens - 1;
  const int64_t have = static_cast<int64_t>(target_ids.size());
  example->target_tokens_cut = std::max<int64_t>(0, have - room);
  target_ids.resize(static_cast<size_t>(have - example->target_tokens_cut));
  target_ids.push_back(tokenizer_->end_of_text_id());

  example->ids.clear();
  const int64_t budget =
      std::min(options_.max_source_tokens,
               options_.max_total_tokens - static_cast<int64_t>(target_ids.size()));
  ASSIGN_OR_RETURN(example->source_tokens_cut, AppendPrompt(source, budget, &example->ids));
  example->num_prompt_tokens = static_cast<int64_t>(example->ids.size());
  example->ids.insert(example->ids.end(), target_ids.begin(), target_ids.end());
  return absl::OkStatus();
}

absl::StatusOr<TokenPrompt> ExampleBuilder::BuildPrompt(absl::string_view source,
                                                        int64_t max_tokens) const {
  const int64_t budget = std::min(options_.max_source_tokens, max_tokens);
  if (budget < template_tokens() + 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_new_tokens: only ", max_tokens, max_tokens == 1 ? " position is" : " positions are",
        " left for the prompt, whose template alone takes ", template_tokens(), " tokens"));
  }
  TokenPrompt prompt;
  ASSIGN_OR_RETURN(prompt.source_tokens_cut, AppendPrompt(source, budget, &prompt.ids));
  return prompt;
}

}  // namespace graft
