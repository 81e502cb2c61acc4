#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/gpt2/network.h"
#include "worker/engine/run_hooks.h"

namespace graft {

struct GeneratorOptions {
  GenerationConfig generation;
  int64_t max_new_tokens = 128;
  int64_t batch_size = 16;  // Prompts at once; with beam search num_beams rows each.
  int32_t end_of_text_id = 0;
  // Told how many more prompts are done, as soon as they are. May be empty.
  std::function<void(int64_t)> on_done;
};

struct Prompt {
  const Gpt2Network* network = nullptr;  // That continues it. All of a call are on one base.
  std::span<const int32_t> ids;
  int64_t row = 0;  // What is sampled depends on the seed, this and the token's place alone.
};

struct Generated {
  std::vector<int32_t> ids;  // New tokens, without <|endoftext|>.
  bool ended = false;        // By <|endoftext|>, else by max_new_tokens.
};

// Told of every new token, the rows of a step in turn; `id` is never <|endoftext|>. With beam
// search it is told a prompt's tokens together, when its best beam is known.
using TokenCallback = std::function<void(int64_t prompt, int32_t id)>;

// Continues every prompt, greedily, sampled or by beam search, until <|endoftext|> or
// max_new_tokens. Prompts of similar length go through their networks together; where one is done,
// the next takes its place (with beam search, where all of a batch are). Each gets what it would
// get alone, up to rounding; results are in the order of the prompts. An empty prompt begins with
// <|endoftext|> (as transformers begins with bos) unless there is a soft prompt.
//   INVALID_ARGUMENT  a prompt, virtual tokens and max_new_tokens exceed n_positions together, an
//                     id is outside the vocabulary, or num_beams is below 1 or above 1 with
//                     do_sample
//   CANCELLED         by `stop`, which is asked before every decode step
//   RESOURCE_EXHAUSTED  marked kOutOfMemory; before, all is made anew with half as many prompts at
//                     once, down to one, unless there is an on_token
absl::StatusOr<std::vector<Generated>> Generate(std::span<const Prompt> prompts,
                                                const GeneratorOptions& options, StopToken& stop,
                                                const TokenCallback& on_token = nullptr);
// All by one network; prompt i is row i.
absl::StatusOr<std::vector<Generated>> Generate(const Gpt2Network& network,
                                                std::span<const std::vector<int32_t>> prompts,
                                                const GeneratorOptions& options, StopToken& stop,
                                                const TokenCallback& on_token = nullptr);

}  // namespace graft
