// Greedy decoding and sampling, token by token.

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "worker/engine/generation/generation_run.h"
#include "worker/engine/generation/token_batch.h"

namespace graft {
namespace {

// Notes the row's new token; does it go on?
bool Record(const GenerationRun& run, int64_t row, int32_t id) {
  Generated& result = run.results[static_cast<size_t>(row)];
  if (id == run.options.end_of_text_id) {
    result.ended = true;
    return false;
  }
  result.ids.push_back(id);
  if (run.on_token) run.on_token(row, id);
  return static_cast<int64_t>(result.ids.size()) < run.options.max_new_tokens;
}

}  // namespace

absl::Status RunTokens(const GenerationRun& run, std::vector<int64_t> rows) {
  if (rows.empty()) return absl::OkStatus();
  const auto all = static_cast<int64_t>(rows.size());
  const int64_t slots = std::min(all, std::max<int64_t>(1, run.options.batch_size));
  int64_t capacity = 0;
  for (const int64_t row : rows) capacity = std::max(capacity, run.Capacity(row));
  const Decoding decoding(run.options.generation);
  TokenBatch batch(
      *run.prompts[static_cast<size_t>(rows[0])].network, run.pad_id(),
      [&](const TokenBatch::Row& row, int32_t id, float) { return Record(run, row.index, id); });
  batch.Reserve(slots, capacity);
  int64_t begun = 0, told = 0;
  const auto tell_done = [&] {
    run.TellDone(static_cast<size_t>(begun - batch.size() - told));
    told = begun - batch.size();
  };
  for (;;) {
    const int64_t count = std::min(all - begun, slots - batch.size());
    if (count > 0 && (batch.size() == 0 || 4 * count >= slots || begun + count == all)) {
      RETURN_IF_ERROR(run.stop.Poll());
      std::vector<TokenBatch::Row> next;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t row = rows[static_cast<size_t>(begun + i)];
        const Prompt& prompt = run.prompts[static_cast<size_t>(row)];
        next.push_back({.index = row,
                        .network = prompt.network,
                        .decoding = &decoding,
                        .sequence = run.BeginningOf(row),
                        .stream = prompt.row});
      }
      begun += count;
      batch.Begin(std::move(next));
      tell_done();
    }
    if (batch.size() == 0) {
      if (begun == all) return absl::OkStatus();
      continue;
    }
    RETURN_IF_ERROR(run.stop.Poll());
    batch.Step();
    tell_done();
  }
}

}  // namespace graft
