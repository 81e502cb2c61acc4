#pragma once

// Serves Measure commands: what a job would need, found out by an engine of the pool.

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/engine_pool.h"
#include "worker/agent/input_cache.h"
#include "worker/agent/server_link.h"

namespace graft {

// One at a time, in a slot that has nothing better to do. Serve is for one thread at a time, the
// rest for any. What kills the engine in the middle (EnginePool::Stop) ends the measurement.
class Measurer {
 public:
  struct Options {
    std::string cache_directory;      // Of token ids: the job will find them there.
    int64_t memory_budget_bytes = 0;  // Of an engine.
    std::string log_path;             // Where a new engine's words go.
  };
  // The others outlive it.
  Measurer(Options options, ServerLink& link, InputCache& inputs, EnginePool& engines,
           Clock& clock);

  // The server hears at once if another one waits or is served.
  void Push(worker::v1::Command::Measure request) ABSL_LOCKS_EXCLUDED(mutex_);
  // Is there one that waits?
  std::optional<worker::v1::Command::Measure> Pop() ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks until the server has the answer to what Pop gave, or is not there.
  void Serve(const worker::v1::Command::Measure& request, StopSignal& stop)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // There may be a job for this worker: what waits or is served ends as UNAVAILABLE.
  void GiveWay() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::StatusOr<v1::JobMeasurement> Measure(const worker::v1::Command::Measure& request,
                                             StopSignal& stop);
  // From here on GiveWay finds it; it may have been asked for before.
  void Attach(EngineLoan* engine) ABSL_LOCKS_EXCLUDED(mutex_);
  void Report(const std::string& id, const absl::StatusOr<v1::JobMeasurement>& measured);

  const Options options_;
  ServerLink& link_;
  InputCache& inputs_;
  EnginePool& engines_;
  Clock& clock_;
  Mutex mutex_;
  std::optional<worker::v1::Command::Measure> waiting_ ABSL_GUARDED_BY(mutex_);
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;  // Pop gave one whose Serve is not over.
  bool gives_way_ ABSL_GUARDED_BY(mutex_) = false;
  EngineLoan* engine_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int64_t served_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace graft
