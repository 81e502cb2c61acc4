#include "worker/engine/generation/generator.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "worker/engine/failure.h"
#include "worker/engine/generation/generation_run.h"
#include "worker/engine/gpt2/runtime.h"

namespace graft {
namespace {

absl::Status CheckPrompt(const Prompt& prompt, int64_t index, int64_t max_new_tokens) {
  const Gpt2Network& network = *prompt.network;
  const int64_t length = std::max<int64_t>(1, static_cast<int64_t>(prompt.ids.size()));
  const int64_t virtual_tokens = network.num_virtual_tokens();
  if (virtual_tokens + length + max_new_tokens > network.n_positions()) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt ", index, ": ", virtual_tokens, " virtual tokens, ", length,
                     " of the prompt and max_new_tokens ", max_new_tokens, " exceed the model's ",
                     network.n_positions(), " positions"));
  }
  for (const int32_t id : prompt.ids) {
    if (id < 0 || id >= network.vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat("prompt ", index, ": id ", id,
                                                     " is not below the model's vocabulary of ",
                                                     network.vocab_size()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const GeneratorOptions& options) {
  if (options.max_new_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_new_tokens: ", options.max_new_tokens,
                                                   " is not allowed; at least 1 is needed"));
  }
  const int64_t beams = options.generation.num_beams;
  if (beams < 1 || beams > kMaxBeams) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_beams: ", beams, " is not allowed; it must be 1 to ", kMaxBeams));
  }
  if (beams > 1 && options.generation.do_sample) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_beams: ", beams,
                     " must be 1 with do_sample: beam search that samples is not supported"));
  }
  return absl::OkStatus();
}

absl::Status RunAll(const GenerationRun& run, const std::vector<int64_t>& order) {
  if (run.options.generation.num_beams == 1) return RunTokens(run, order);
  for (auto begin = order.begin(); begin != order.end();) {
    const auto end = begin + std::min<int64_t>(run.options.batch_size, order.end() - begin);
    RETURN_IF_ERROR(RunBeams(run, {begin, end}));
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Generated>> Generate(std::span<const Prompt> prompts,
                                                const GeneratorOptions& options, StopToken& stop,
                                                const TokenCallback& on_token) {
  RETURN_IF_ERROR(CheckOptions(options));
  for (size_t i = 0; i < prompts.size(); ++i) {
    RETURN_IF_ERROR(CheckPrompt(prompts[i], static_cast<int64_t>(i), options.max_new_tokens));
  }
  const c10::NoGradGuard no_grad;
  std::vector<int64_t> order(prompts.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return prompts[static_cast<size_t>(a)].ids.size() > prompts[static_cast<size_t>(b)].ids.size();
  });
  int64_t done = 0, told = 0;
  GeneratorOptions used = options;
  used.batch_size =
      std::clamp<int64_t>(options.batch_size, 1, std::max<int64_t>(1, std::ssize(prompts)));
  used.on_done = [&](int64_t count) {
    done += count;
    if (done <= told) return;
    if (options.on_done) options.on_done(done - told);
    told = done;
  };
  for (;;) {
    done = 0;
    std::vector<Generated> results(prompts.size());
    const GenerationRun run{prompts, used, stop, on_token, results};
    const absl::Status status = CatchTorchErrors([&] { return RunAll(run, order); });
    if (status.ok()) return results;
    // Whoever hears the tokens one by one has heard some already.
    if (!IsOutOfMemory(status) || used.batch_size == 1 || on_token) return status;
    used.batch_size = (used.batch_size + 1) / 2;
    ReleaseFreeMemory(prompts[0].network->device());
  }
}

absl::StatusOr<std::vector<Generated>> Generate(const Gpt2Network& network,
                                                std::span<const std::vector<int32_t>> prompts,
                                                const GeneratorOptions& options, StopToken& stop,
                                                const TokenCallback& on_token) {
  std::vector<Prompt> of_network;
  for (const std::vector<int32_t>& ids : prompts) {
    of_network.push_back({&network, ids, static_cast<int64_t>(of_network.size())});
  }
  return Generate(of_network, options, stop, on_token);
}

}  // namespace graft
