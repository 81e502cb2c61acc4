#pragma once

// Serves Generate commands: text from an engine of the pool.

#include <deque>
#include <functional>
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

// The requests that wait for an engine of this worker. Thread-safe.
class GenerationQueue {
 public:
  // RESOURCE_EXHAUSTED when kMaxWaiting wait already.
  static constexpr size_t kMaxWaiting = 16;
  absl::Status Push(worker::v1::Command::Generate request) ABSL_LOCKS_EXCLUDED(mutex_);
  std::optional<worker::v1::Command::Generate> Pop() ABSL_LOCKS_EXCLUDED(mutex_);
  // The first for which `wanted` is true.
  using Wanted = std::function<bool(const worker::v1::Command::Generate&)>;
  std::optional<worker::v1::Command::Generate> Pop(const Wanted& wanted)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Drops a request that still waits. False: it does not.
  bool Remove(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Mutex mutex_;
  std::deque<worker::v1::Command::Generate> waiting_ ABSL_GUARDED_BY(mutex_);
};

// One for a slot, and one for texts beside jobs. Serve belongs to its thread; Cancel may be called
// from any. What kills the engine in the middle (EnginePool::Stop) ends the text.
class Generator {
 public:
  // kSlot: any engine, one that has to be started too. kGuest: one that runs a job on the same base
  // model, else the text is UNAVAILABLE.
  enum class Place { kSlot, kGuest };
  Generator(Place place, std::string log_path, ServerLink& link, InputCache& inputs,
            EnginePool& engines);

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
  // From here on Cancel finds it; it may have been asked for before.
  void Attach(EngineLoan* engine) ABSL_LOCKS_EXCLUDED(mutex_);
  void SendCancel() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetCurrent(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);

  const Place place_;
  const std::string log_path_;
  ServerLink& link_;
  InputCache& inputs_;
  EnginePool& engines_;
  Mutex mutex_;
  EngineLoan* engine_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::string current_id_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace graft
