#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/adapters/held_adapters.h"
#include "worker/engine/generation/token_batch.h"
#include "worker/engine/session/loaded_model.h"
#include "worker/engine/session/session.h"

namespace graft {

// Texts that are made at once, and memory that their keys and values may take (one text's in any
// case); the next ones wait.
inline constexpr int64_t kMaxTextsAtOnce = 32;
inline constexpr int64_t kMaxTextCacheBytes = int64_t{2} << 30;
// Prompt tokens that are run between two decode steps, or one prompt: the other texts wait for it.
inline constexpr int64_t kMaxPrefillTokens = 4096;

// Makes texts of adapters on one base model in one batch, which they join and leave one by one.
class TextRun {
 public:
  TextRun(std::shared_ptr<const LoadedModel> base, HeldAdapters& adapters, TextSource& source,
          StopToken& stop);
  ~TextRun();

  // Begins with `first`. OK: the source had nothing more, and all have ended. Not OK: `stop` said
  // so, and those that have not ended are left as they are.
  absl::Status Run(TextTask& first);
  // All that have not ended end so.
  void Fail(const absl::Status& status);
  bool stopped() const { return stopped_; }

 private:
  struct Text;

  int64_t under_way() const { return static_cast<int64_t>(texts_.size() + waiting_.size()); }
  // It waits, or has ended already. Not OK: `stop` said so.
  absl::Status Take(TextTask& task);
  absl::StatusOr<std::unique_ptr<Text>> Prepare(TextTask& task);
  // Beam search tells nothing before the end, and joins no batch: the others wait.
  absl::Status MakeByBeams(Text& text);
  // Those that wait and for which there is room; then a token for each in the batch.
  absl::Status Pass();
  void BeginWaiting();
  // Memory ran out: half as many go on at once, behind what was told of them. One that was alone
  // ends.
  void GoOnWithFewer(const absl::Status& out_of_memory);
  // For a further one besides so many rows. False: these must end first.
  bool MakeRoomFor(const Text& text, int64_t rows);
  // False: the text has ended.
  bool OnToken(int64_t index, int32_t id, float log_probability);
  // Tells the token. Nothing: the text goes on.
  std::optional<TextEnd> Tell(Text& text, int32_t id, float log_probability);
  void End(Text& text, TextEnd end);
  absl::Status Poll();

  const std::shared_ptr<const LoadedModel> base_;
  HeldAdapters& adapters_;
  TextSource& source_;
  StopToken& stop_;
  bool stopped_ = false;
  int64_t most_ = kMaxTextsAtOnce;  // Of those that are in the batch at once.
  int64_t next_index_ = 0;
  std::map<int64_t, std::unique_ptr<Text>> texts_;  // Those in the batch.
  std::deque<std::unique_ptr<Text>> waiting_;
  std::optional<TokenBatch> batch_;
};

}  // namespace graft
