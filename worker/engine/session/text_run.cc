#include "worker/engine/session/text_run.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/example_builder.h"
#include "worker/engine/failure.h"
#include "worker/engine/generation/generator.h"
#include "worker/engine/gpt2/runtime.h"

namespace graft {
namespace {

// The prompt's ids in what the model has room for. A bare prompt keeps its end, which the text
// continues; in a template the source is cut as in training.
absl::StatusOr<TokenPrompt> MakePrompt(const GenerateRequest& request, const LoadedModel& base,
                                       int64_t positions, int64_t max_new_tokens) {
  const int64_t room = positions - max_new_tokens;
  if (room < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens: ", max_new_tokens, " leaves no room for a prompt in ",
                     positions, " positions; at most ", positions - 1, " is possible"));
  }
  if (!request.prompt_template.empty()) {
    // What bounds this prompt is the room that is left, which BuildPrompt checks.
    ExampleOptions options;
    options.prompt_template = request.prompt_template;
    options.max_source_tokens = options.max_total_tokens = std::numeric_limits<int64_t>::max();
    ASSIGN_OR_RETURN(const ExampleBuilder builder,
                     ExampleBuilder::Create(*base.tokenizer, options));
    return builder.BuildPrompt(request.prompt, room);
  }
  TokenPrompt prompt;
  absl::StatusOr<std::vector<int32_t>> ids = base.tokenizer->Encode(request.prompt);
  if (!ids.ok()) return Annotate(ids.status(), "prompt");
  const int64_t have = static_cast<int64_t>(ids->size());
  prompt.source_tokens_cut = std::max<int64_t>(0, have - room);
  prompt.ids.assign(ids->begin() + prompt.source_tokens_cut, ids->end());
  return prompt;
}

// What a text is asked for to be left: by its own task, or by the run's.
class EitherStop : public StopToken {
 public:
  EitherStop(StopToken& run, TextTask& task) : run_(run), task_(task) {}
  absl::Status Poll() override {
    RETURN_IF_ERROR(task_.Check());
    run_ends_ = !run_.Poll().ok();
    return run_ends_ ? absl::AbortedError("the run ends") : absl::OkStatus();
  }
  bool run_ends() const { return run_ends_; }

 private:
  StopToken& run_;
  TextTask& task_;
  bool run_ends_ = false;
};

}  // namespace

struct TextRun::Text {
  Text(TextTask& task, const BpeTokenizer& tokenizer)
      : task(task), decoding(task.request().generation), decoder(tokenizer) {}

  int64_t positions() const {
    return network->num_virtual_tokens() + static_cast<int64_t>(row.sequence.size()) -
           row.new_tokens + max_new_tokens;
  }

  // More of the text. True: a stop string is in it now.
  bool AddToEnd(const std::string& piece) {
    size_t longest = 0;
    text_end += piece;
    for (const std::string& stop : task.request().stop_strings) {
      if (text_end.find(stop) != std::string::npos) return true;
      longest = std::max(longest, stop.size());
    }
    // Only the beginning of one can still be continued.
    if (text_end.size() >= longest) text_end.erase(0, text_end.size() - longest + (longest > 0));
    return false;
  }

  TextTask& task;
  const Decoding decoding;
  StreamDecoder decoder;
  std::shared_ptr<const HeldAdapters::Adapter> adapter;
  const Gpt2Network* network = nullptr;
  TokenBatch::Row row;  // To begin with, or to begin again behind what was told.
  int64_t max_new_tokens = 0;
  std::string text_end;  // As much of it as the beginning of a stop string may be in.
  GenerateOutcome outcome;
};

TextRun::TextRun(std::shared_ptr<const LoadedModel> base, HeldAdapters& adapters,
                 TextSource& source, StopToken& stop)
    : base_(std::move(base)), adapters_(adapters), source_(source), stop_(stop) {}
TextRun::~TextRun() = default;

absl::Status TextRun::Run(TextTask& first) {
  RETURN_IF_ERROR(Take(first));
  for (;;) {
    while (under_way() < kMaxTextsAtOnce) {
      TextTask* next = source_.Next();
      if (next == nullptr) break;
      RETURN_IF_ERROR(Take(*next));
    }
    if (under_way() == 0) return absl::OkStatus();
    RETURN_IF_ERROR(Poll());
    const absl::Status passed = Pass();
    if (IsOutOfMemory(passed)) {
      GoOnWithFewer(passed);
    } else {
      RETURN_IF_ERROR(passed);
    }
  }
}

absl::Status TextRun::Pass() {
  return CatchTorchErrors([&] {
    BeginWaiting();
    if (!texts_.empty()) batch_->Step();
    return absl::OkStatus();
  });
}

void TextRun::GoOnWithFewer(const absl::Status& out_of_memory) {
  batch_.reset();
  const bool was_alone = most_ == 1;
  most_ = std::max<int64_t>(1, static_cast<int64_t>(texts_.size()) / 2);
  // In their order, before those that had not begun.
  for (auto text = texts_.rbegin(); text != texts_.rend(); ++text) {
    waiting_.push_front(std::move(text->second));
  }
  texts_.clear();
  if (!was_alone) return;
  waiting_.front()->task.OnEnd(out_of_memory);
  waiting_.pop_front();
}

void TextRun::Fail(const absl::Status& status) {
  for (auto& [index, text] : texts_) text->task.OnEnd(status);
  for (auto& text : waiting_) text->task.OnEnd(status);
  texts_.clear();
  waiting_.clear();
}

absl::Status TextRun::Poll() {
  const absl::Status status = stop_.Poll();
  stopped_ = !status.ok();
  return status;
}

absl::Status TextRun::Take(TextTask& task) {
  absl::StatusOr<std::unique_ptr<Text>> text = absl::InternalError("not made");
  const absl::Status prepared = CatchTorchErrors([&] {
    text = Prepare(task);
    return text.status();
  });
  if (!prepared.ok()) {
    task.OnEnd(prepared);
    return absl::OkStatus();
  }
  if (task.request().generation.num_beams > 1) {
    const absl::Status made = MakeByBeams(**text);
    if (stopped_) return made;
    if (!made.ok()) task.OnEnd(made);
  } else {
    waiting_.push_back(*std::move(text));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TextRun::Text>> TextRun::Prepare(TextTask& task) {
  RETURN_IF_ERROR(task.Check());
  const GenerateRequest& request = task.request();
  if (!IsSameContent(request.base_model, base_->source)) {
    return absl::UnavailableError("this engine is at work on another base model");
  }
  auto text = std::make_unique<Text>(task, *base_->tokenizer);
  text->network = &base_->model->network();
  if (!request.adapter_directory.empty()) {
    ASSIGN_OR_RETURN(text->adapter, adapters_.Get(*base_->model, request.adapter_directory));
    text->network = &text->adapter->network;
  }
  const Gpt2Network& network = *text->network;
  const int64_t positions = network.n_positions() - network.num_virtual_tokens();
  if (positions < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("adapter: its ", network.num_virtual_tokens(), " virtual tokens leave ",
                     positions, " of the model's ", network.n_positions(),
                     " positions; a prompt and what follows it need 2"));
  }
  text->max_new_tokens = request.max_new_tokens.value_or(
      std::min(kDefaultNewTokens, std::max<int64_t>(1, positions / 2)));
  ASSIGN_OR_RETURN(TokenPrompt prompt,
                   MakePrompt(request, *base_, positions, text->max_new_tokens));
  text->outcome.prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  text->outcome.prompt_tokens_cut = prompt.source_tokens_cut;
  if (prompt.ids.empty() && network.num_prompt_rows() == 0) {
    prompt.ids.push_back(base_->tokenizer->end_of_text_id());
  }
  text->row = {.index = next_index_++,
               .network = text->network,
               .decoding = &text->decoding,
               .sequence = std::move(prompt.ids),
               .stream = request.sequence,
               .log_probabilities = request.log_probabilities};
  for (const int32_t id : request.begun) {
    text->row.sequence.push_back(id);
    text->AddToEnd(text->decoder.Push(id));
  }
  text->row.new_tokens = text->outcome.new_tokens = static_cast<int64_t>(request.begun.size());
  return text;
}

absl::Status TextRun::MakeByBeams(Text& text) {
  GeneratorOptions options;
  options.generation = text.task.request().generation;
  options.max_new_tokens = text.max_new_tokens;
  options.end_of_text_id = base_->tokenizer->end_of_text_id();
  EitherStop stop(stop_, text.task);
  const Prompt prompt[] = {{text.network, text.row.sequence, text.row.stream}};
  const auto generated = Generate(prompt, options, stop, [&](int64_t, int32_t id) {
    ++text.outcome.new_tokens;
    text.task.OnText({id, 0, text.decoder.Push(id)});
  });
  stopped_ = stop.run_ends();
  RETURN_IF_ERROR(generated.status());
  End(text, (*generated)[0].ended ? TextEnd::kEndOfText : TextEnd::kMaxNewTokens);
  return absl::OkStatus();
}

void TextRun::BeginWaiting() {
  std::vector<TokenBatch::Row> rows;
  int64_t tokens = 0;
  while (!waiting_.empty() && static_cast<int64_t>(texts_.size()) < most_) {
    Text& text = *waiting_.front();
    tokens += static_cast<int64_t>(text.row.sequence.size());
    if (!rows.empty() && tokens > kMaxPrefillTokens) break;
    if (!MakeRoomFor(text, static_cast<int64_t>(texts_.size()))) break;
    rows.push_back(text.row);
    texts_[rows.back().index] = std::move(waiting_.front());
    waiting_.pop_front();
  }
  if (!rows.empty()) batch_->Begin(std::move(rows));
}

bool TextRun::MakeRoomFor(const Text& text, int64_t rows) {
  const Gpt2Network& base = base_->model->network();
  if (!batch_.has_value() || rows == 0) {
    const int32_t pad_id = std::max(base_->tokenizer->end_of_text_id(), 0);
    batch_.emplace(base, pad_id,
                   [this](const TokenBatch::Row& row, int32_t id, float log_probability) {
                     return OnToken(row.index, id, log_probability);
                   });
  }
  // In steps, as growing copies what is there.
  const auto grown = [](int64_t wanted) {
    return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(wanted)));
  };
  const int64_t slots = std::max(batch_->slots(), grown(rows + 1));
  const int64_t capacity =
      std::max(batch_->capacity(), std::min(grown(text.positions()), base.n_positions()));
  const int64_t bytes = 2 * base.num_layers() * base.width() * slots * capacity *
                        static_cast<int64_t>(base.wte.element_size());
  if (rows > 0 && bytes > kMaxTextCacheBytes) return false;
  batch_->Reserve(slots, capacity);
  return true;
}

bool TextRun::OnToken(int64_t index, int32_t id, float log_probability) {
  Text& text = *texts_.at(index);
  const absl::Status wanted = text.task.Check();
  if (!wanted.ok()) {
    text.task.OnEnd(wanted);
  } else {
    const std::optional<TextEnd> end = Tell(text, id, log_probability);
    text.row.sequence.push_back(id);
    ++text.row.new_tokens;
    if (!end.has_value()) return true;
    End(text, *end);
  }
  texts_.erase(index);
  return false;
}

std::optional<TextEnd> TextRun::Tell(Text& text, int32_t id, float log_probability) {
  if (id == base_->tokenizer->end_of_text_id()) return TextEnd::kEndOfText;
  const std::string piece = text.decoder.Push(id);
  text.task.OnText({id, log_probability, piece});
  if (text.AddToEnd(piece)) return TextEnd::kStopString;
  if (++text.outcome.new_tokens >= text.max_new_tokens) return TextEnd::kMaxNewTokens;
  return std::nullopt;
}

void TextRun::End(Text& text, TextEnd end) {
  const std::string rest = text.decoder.Finish();
  if (!rest.empty()) text.task.OnText({-1, 0, rest});
  text.outcome.end = end;
  text.task.OnEnd(text.outcome);
}

}  // namespace graft
