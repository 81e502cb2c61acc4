#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "graft/worker/v1/worker.pb.h"

namespace graft {

// The texts that wait for an engine of this worker, and the batches of them that are being made. A
// batch is served by one thread from Begin on, until Done says that it is over, or End does; what
// comes of it later is dropped. Thread-safe.
class GenerationQueue {
 public:
  using Text = worker::v1::Command::Generate;
  static constexpr size_t kMaxWaiting = 256;

  // RESOURCE_EXHAUSTED when kMaxWaiting wait already.
  absl::Status Push(Text text) ABSL_LOCKS_EXCLUDED(mutex_);
  // The first text of a batch that nobody serves, for which `wanted` is true; the caller serves
  // that batch.
  using Wanted = std::function<bool(const Text&)>;
  std::optional<Text> Begin(const Wanted& wanted) ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks for a further text of the batch. Nothing: it is over.
  std::optional<Text> Next(const std::string& batch) ABSL_LOCKS_EXCLUDED(mutex_);
  // A text that Begin or Next gave has ended. True: no other is being made or waits, so that the
  // batch is over.
  bool Done(const std::string& batch, int row) ABSL_LOCKS_EXCLUDED(mutex_);
  // Those that Begin and Next gave and that have not ended.
  std::vector<int> UnderWay(const std::string& batch) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(const std::string& batch) ABSL_LOCKS_EXCLUDED(mutex_);
  // Drops a text that still waits. False: it does not.
  bool Remove(const std::string& batch, int row) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Batches whose end is remembered: a command of one may be on its way.
  static constexpr size_t kMaxEnded = 64;

  Text Take(const std::deque<Text>::iterator& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndLocked(const std::string& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::deque<Text> waiting_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::set<int>> under_way_ ABSL_GUARDED_BY(mutex_);  // By batch: rows.
  std::deque<std::string> ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
