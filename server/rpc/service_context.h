#pragma once

#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/jobs/job_spec.h"
#include "server/catalogue/catalogue.h"
#include "server/catalogue/data_checks.h"
#include "server/catalogue/job_logs.h"
#include "server/rpc/call.h"
#include "server/rpc/server_telemetry.h"
#include "server/rpc/watch.h"
#include "server/scheduler/queue_view.h"
#include "server/scheduler/scheduler.h"
#include "server/scheduler/study_loop.h"
#include "server/serving/generation_broker.h"
#include "server/serving/measurement_broker.h"
#include "server/store/job_store.h"
#include "server/workers/worker_hub.h"

namespace graft {

// Bounds of the services that are no limits of the API (those: common/base/limits.h).
inline constexpr int kMaxHasBlobs = 10'000;                 // Hashes in one HasBlobs call.
inline constexpr size_t kMaxAppendedLogBytes = 256 * 1024;  // In one AppendLog call.

struct ServiceOptions {
  SpecDefaults spec_defaults;
  absl::Duration watch_heartbeat = absl::Seconds(10);
  // Told to workers.
  absl::Duration worker_heartbeat = absl::Seconds(5);
  absl::Duration lease_duration = absl::Seconds(60);
  absl::Duration lease_margin = absl::Seconds(5);
};

// What the services work with. Everything outlives them.
struct ServiceContext {
  const ServiceOptions options;
  Clock& clock;
  JobStore& store;
  Scheduler& scheduler;
  QueueView& queue;
  RpcRuntime& runtime;         // Of users' calls.
  RpcRuntime& worker_runtime;  // Of workers' calls.
  WorkerHub& hub;
  GenerationBroker& broker;
  MeasurementBroker& measurements;
  Ticker& ticker;
  const Catalogue catalogue;
  DataChecks& data_checks;
  JobLogs& logs;
  ServerTelemetry& telemetry;
  StudyLoop* study_loop = nullptr;  // Set before any call comes.
};

}  // namespace graft
