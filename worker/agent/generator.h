#pragma once

// Serves Generate commands: text from an engine that stays warm between requests.

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/engine_launcher.h"
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

// One for a slot. Serve and Release belong to the slot's thread; Cancel and Interrupt may be called
// from any.
class Generator {
 public:
  Generator(std::string log_path, ServerLink& link, InputCache& inputs, EngineLauncher& launcher);

  // Blocks until the text is complete and the user has it, or the failure.
  void Serve(const worker::v1::Command::Generate& request, StopSignal& stop);
  // Ends the engine, and gives back its memory. Nothing happens without one.
  void Release();

  // Stops the request if it is being served.
  void Cancel(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);
  // Kills the engine, whatever it does.
  void Interrupt() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Starts the engine, if none is warm, and hands it the request.
  absl::Status Begin(const worker::v1::Command::Generate& request, StopSignal& stop);
  // The engine's next answer; true when it was the last one.
  bool Next(worker::v1::ReportGenerationRequest& message);

  const std::string log_path_;
  ServerLink& link_;
  InputCache& inputs_;
  EngineLauncher& launcher_;
  Mutex mutex_;
  std::unique_ptr<EngineProcess> engine_ ABSL_GUARDED_BY(mutex_);
  std::string current_id_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
