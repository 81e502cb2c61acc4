#pragma once

// Serves Generate commands: texts from an engine of the pool.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "worker/agent/engine_pool.h"
#include "worker/agent/generation_queue.h"
#include "worker/agent/input_cache.h"
#include "worker/agent/server_link.h"

namespace graft {

// One for a slot, and one for texts beside jobs. Serve belongs to its thread; Cancel may be called
// from any. What kills the engine in the middle (EnginePool::Stop) ends the text.
class Generator {
 public:
  // kSlot: any engine, one that has to be started too. kGuest: one that runs a job on the same base
  // model, else the texts are UNAVAILABLE.
  enum class Place { kSlot, kGuest };
  Generator(Place place, std::string log_path, ServerLink& link, InputCache& inputs,
            EnginePool& engines, GenerationQueue& texts);

  // Serves the batch that begins with `first`, and whatever comes of it meanwhile. Blocks until its
  // texts are complete and the server has them, or the failures.
  void Serve(const GenerationQueue::Text& first, StopSignal& stop) ABSL_LOCKS_EXCLUDED(mutex_);

  // Stops the text if it is one of those being served.
  void Cancel(const std::string& batch, int row) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Batch;

  absl::StatusOr<std::unique_ptr<EngineLoan>> Borrow(const GenerationQueue::Text& first,
                                                     StopSignal& stop);
  // From here on Cancel finds them; some may have been asked for before.
  void Attach(EngineLoan* engine) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetCurrent(const std::string& batch) ABSL_LOCKS_EXCLUDED(mutex_);

  const Place place_;
  const std::string log_path_;
  ServerLink& link_;
  InputCache& inputs_;
  EnginePool& engines_;
  GenerationQueue& texts_;
  Mutex mutex_;
  EngineLoan* engine_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::string current_batch_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> cancelled_ ABSL_GUARDED_BY(mutex_);  // Before there was an engine.
};

}  // namespace graft
