// graft generate.

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/prompt_file.h"
#include "client/cli/proto_fields.h"
#include "client/cli/terminal.h"
#include "client/cli/text_printer.h"
#include "client/cli/usage.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/jobs/message_json.h"

namespace graft {
namespace {

struct GenerateOptions {
  std::string prompt;
  std::string prompts_file;
  std::string base_model;
  std::vector<std::string> adapters;
  bool apply_template = false;
  std::optional<int> max_new_tokens;
  std::vector<std::string> stop_strings;
  std::optional<int> num_return_sequences;
  bool log_probabilities = false;
  bool sample = false;
  double temperature = 1;
  int top_k = 0;
  double top_p = 1;
  uint64_t seed = 42;
  int num_beams = 1;
  double length_penalty = 1;
  std::string early_stopping = "false";
  double repetition_penalty = 1;
  int no_repeat_ngram_size = 0;
};

absl::StatusOr<std::string> ReadPrompt(const std::string& prompt) {
  if (prompt != "-") return prompt;
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  const size_t invalid = FindInvalidUtf8(text);
  if (invalid == absl::string_view::npos) return text;
  return absl::InvalidArgumentError(
      absl::StrCat("standard input is not UTF-8: invalid at byte ", invalid + 1));
}

// But for the adapter.
v1::GenerateRequest ToRequest(const GenerateOptions& options, std::string prompt) {
  v1::GenerateRequest request;
  request.set_base_model(options.base_model);
  request.set_prompt(std::move(prompt));
  request.set_apply_template(options.apply_template);
  if (options.max_new_tokens) request.set_max_new_tokens(*options.max_new_tokens);
  for (const std::string& text : options.stop_strings) request.add_stop_strings(text);
  if (options.num_return_sequences) request.set_num_return_sequences(*options.num_return_sequences);
  request.set_log_probabilities(options.log_probabilities);
  v1::GenerationOptions& generation = *request.mutable_generation();
  generation.set_do_sample(options.sample);
  if (options.sample) {
    generation.set_temperature(options.temperature);
    generation.set_top_k(options.top_k);
    generation.set_top_p(options.top_p);
    generation.set_seed(options.seed);
  }
  generation.set_num_beams(options.num_beams);
  generation.set_length_penalty(options.length_penalty);
  (void)SetField(generation, "early_stopping", options.early_stopping);  // One of the enum's.
  generation.set_repetition_penalty(options.repetition_penalty);
  generation.set_no_repeat_ngram_size(options.no_repeat_ngram_size);
  return request;
}

void PrintEnd(const v1::GenerateResponse& last) {
  std::fprintf(stderr, "(%d tokens after %d of prompt%s; %s)\n", last.new_tokens(),
               last.prompt_tokens(), last.prompt_tokens_cut() > 0 ? ", prompt cut" : "",
               last.finish_reason().c_str());
}

absl::Status GenerateOne(CliContext& context, const v1::GenerateRequest& request) {
  const bool terminal = isatty(STDOUT_FILENO) != 0;  // Elsewhere the text is data.
  bool ended_line = true;
  v1::GenerateResponse last;
  const absl::Status status =
      context.client->Generate(request, [&](const v1::GenerateResponse& response) {
        if (context.json) {
          std::puts(ToJson(response).c_str());
        } else if (!response.text().empty()) {
          std::fputs((terminal ? Printable(response.text()) : response.text()).c_str(), stdout);
          ended_line = response.text().back() == '\n';
        }
        std::fflush(stdout);
        last = response;
        return true;
      });
  if (!ended_line) std::puts("");
  if (context.interrupts->interrupted()) return AlreadyPrinted(absl::StatusCode::kCancelled);
  RETURN_IF_ERROR(status);
  if (!context.json && isatty(STDERR_FILENO) != 0) PrintEnd(last);
  return absl::OkStatus();
}

absl::Status GenerateSeveral(CliContext& context, const v1::GenerateBatchRequest& request) {
  TextPrinter printer(request, isatty(STDOUT_FILENO) != 0);
  const absl::Status status =
      context.client->GenerateBatch(request, [&](const v1::GenerateBatchResponse& message) {
        const std::string text = printer.Take(message);
        std::fputs(context.json ? (ToJson(message) + "\n").c_str() : text.c_str(), stdout);
        std::fflush(stdout);
        return true;
      });
  if (context.interrupts->interrupted()) return AlreadyPrinted(absl::StatusCode::kCancelled);
  RETURN_IF_ERROR(status);
  return printer.error().ok() ? absl::OkStatus() : AlreadyPrinted(printer.error().code());
}

// One an adapter.
std::vector<v1::GenerateRequest> RequestsOf(const GenerateOptions& options, std::string prompt) {
  v1::GenerateRequest request = ToRequest(options, std::move(prompt));
  if (options.adapters.empty()) return {request};
  std::vector<v1::GenerateRequest> requests;
  for (const std::string& adapter : options.adapters) {
    request.set_adapter(adapter);
    requests.push_back(request);
  }
  return requests;
}

// The texts of one batch. `first_error` becomes that of the first text that has one, which is told.
absl::Status MakeTexts(CliContext& context, const PromptBatch& batch, absl::Status& first_error) {
  std::vector<std::string> of_prompts;
  for (const Prompt* prompt : batch.prompts) {
    of_prompts.push_back(absl::StrCat("line ", prompt->line, ", "));
  }
  TextPrinter printer(batch.request, isatty(STDOUT_FILENO) != 0, of_prompts);
  PromptJson json(batch);
  RETURN_IF_ERROR(
      context.client->GenerateBatch(batch.request, [&](const v1::GenerateBatchResponse& message) {
        const std::string lines = context.json ? json.Take(message) : printer.Take(message);
        std::fputs(lines.c_str(), stdout);
        std::fflush(stdout);
        return true;
      }));
  first_error.Update(context.json ? json.error() : printer.error());
  return absl::OkStatus();
}

absl::Status GenerateForFile(CliContext& context, const GenerateOptions& options) {
  const std::string& path = options.prompts_file;
  ASSIGN_OR_RETURN(const std::vector<Prompt> prompts, ReadPrompts(path));
  ASSIGN_OR_RETURN(const std::vector<PromptBatch> batches,
                   BatchesOf(path, prompts, RequestsOf(options, "")));
  absl::Status first_error;
  for (const PromptBatch& batch : batches) {
    if (&batch != &batches.front() && !context.json) std::puts("");
    const absl::Status made = MakeTexts(context, batch, first_error);
    if (context.interrupts->interrupted()) return AlreadyPrinted(absl::StatusCode::kCancelled);
    if (!made.ok()) return WithLines(made, path, batch);
  }
  return first_error.ok() ? absl::OkStatus() : AlreadyPrinted(first_error.code());
}

absl::Status RunGenerate(CliContext& context, const GenerateOptions& options) {
  if (options.log_probabilities && !context.json) {
    return absl::InvalidArgumentError("--log-probabilities needs --json, which prints them");
  }
  if (options.prompt.empty() == options.prompts_file.empty()) {
    return absl::InvalidArgumentError(
        "give a prompt (- reads it from standard input) or --prompts");
  }
  if (!options.prompts_file.empty()) {
    context.interrupts->EndStreamsFirst();
    return GenerateForFile(context, options);
  }
  ASSIGN_OR_RETURN(std::string prompt, ReadPrompt(options.prompt));
  const std::vector<v1::GenerateRequest> requests = RequestsOf(options, std::move(prompt));
  context.interrupts->EndStreamsFirst();
  if (requests.size() == 1 && requests[0].num_return_sequences() < 2) {
    return GenerateOne(context, requests[0]);
  }
  v1::GenerateBatchRequest batch;
  batch.mutable_requests()->Assign(requests.begin(), requests.end());
  return GenerateSeveral(context, batch);
}

void AddDecodingFlags(CLI::App& command, GenerateOptions& options) {
  command.add_flag("--sample", options.sample, "Sample instead of greedy");
  command.add_option("--temperature", options.temperature)->capture_default_str();
  command.add_option("--top-k", options.top_k, "0: all")->capture_default_str();
  command.add_option("--top-p", options.top_p)->capture_default_str();
  command.add_option("--seed", options.seed)->capture_default_str();
  command
      .add_option("--num-return-sequences", options.num_return_sequences,
                  "With --sample: so many texts of the prompt [1]")
      ->check(CLI::Range(1, 64));
  command
      .add_option("--num-beams", options.num_beams,
                  "Beam search with so many beams; its text comes in one piece")
      ->capture_default_str();
  command
      .add_option("--length-penalty", options.length_penalty,
                  "Beam search: above 0 favours long texts, below 0 short ones")
      ->capture_default_str();
  command
      .add_option("--early-stopping", options.early_stopping,
                  "Beam search: end when as many beams have finished; false, true or never [false]")
      ->transform(OneOf(EnumNames(*v1::BeamEarlyStopping_descriptor())))
      ->type_name("VALUE");
  command
      .add_option("--repetition-penalty", options.repetition_penalty,
                  "Above 1: less of what was there before")
      ->capture_default_str();
  command
      .add_option("--no-repeat-ngram-size", options.no_repeat_ngram_size,
                  "No n tokens in a row come twice; 0: no rule")
      ->capture_default_str();
}

}  // namespace

void AddGenerateCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = AddCommand(
      app, run, "generate", "Generate text, token by token, by one adapter or several",
      "graft generate --base-model gpt2 --adapter news-lora --apply-template - < article.txt",
      options, RunGenerate);
  command->add_option("prompt", options->prompt, "The prompt; - reads it from standard input");
  command->add_option(
      "--prompts", options->prompts_file,
      "A file of prompts instead: JSON lines with the field prompt (.jsonl), or one "
      "on each line; with --json each text is a line");
  command->add_option("--base-model", options->base_model,
                      "Name of the base model; may be left out with --adapter");
  command
      ->add_option("--adapter", options->adapters,
                   "Name of the adapter [none]; of several (A,B) on one base model, all texts are "
                   "made at once")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_flag("--apply-template", options->apply_template,
                    "Put the prompt into the template that the adapter was trained with");
  command
      ->add_option("--max-new-tokens", options->max_new_tokens,
                   "[128, or half of what a shorter model has room for]")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--stop-strings", options->stop_strings,
                   "The text ends with the first token after which it has this; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--log-probabilities", options->log_probabilities,
                    "With --json: the logarithm of each token's probability");
  AddDecodingFlags(*command, *options);
}

}  // namespace graft
