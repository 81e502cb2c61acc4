#pragma once

// Serves Generate commands: text from an engine of the pool.

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/engine_pool.h"
#include "worker/agent/input_cache.h"
#include "worker/agent/server_link.h"

namespace graft {

// The requests that wait for a slot of this worker. Thread-safe.
class GenerationQueue {
 public:
  // RESOURCE_EXHAUSTED when kMaxWaiting wait already.
  static constexpr size_t kMaxWaiting = 16;
  absl::Status Push(worker::v1::Command::Generate request) ABSL_LOCKS_EXCLUDED(mutex_);
  std::optional<worker::v1::Command::Generate> Pop() ABSL_LOCKS_EXCLUDED(mutex_);
  // Drops a request that still waits. False: it does not.
  bool Remove(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Mutex mutex_;
  std::deque<worker::v1::Command::Generate> waiting_ ABSL_GUARDED_BY(mutex_);
};

// One for a slot. Serve belongs to the slot's thread; Cancel may be called from any. What kills the
// engine in the middle (EnginePool::Stop) ends the text.
class Generator {
 public:
  Generator(std::string log_path, ServerLink& link, InputCache& inputs, EnginePool& engines);

  // Blocks until the text is complete and the user has it, or the failure.
  void Serve(const worker::v1::Command::Generate& request, StopSignal& stop)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Stops the request if it is being served.
  void Cancel(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // How far an engine is with the text.
  enum class Answer { kMore, kLast, kBroken };

  // Borrows an engine and hands it the request.
  absl::StatusOr<std::unique_ptr<EngineLoan>> Begin(const worker::v1::Command::Generate& request,
                                                    StopSignal& stop);
  // The engine's next words. kBroken: the last ones, and the engine is not to be used again.
  static Answer Next(EngineLoan& engine, worker::v1::ReportGenerationRequest& message);
  void SetCurrent(EngineLoan* engine, const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string log_path_;
  ServerLink& link_;
  InputCache& inputs_;
  EnginePool& engines_;
  Mutex mutex_;
  EngineLoan* engine_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::string current_id_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
