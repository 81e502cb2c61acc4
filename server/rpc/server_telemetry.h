#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/telemetry/metrics.h"
#include "graft/v1/event.pb.h"
#include "server/scheduler/scheduler.h"
#include "server/serving/generation_broker.h"
#include "server/serving/text_telemetry.h"
#include "server/store/job_store.h"
#include "server/workers/worker_hub.h"
#include "server/workers/worker_roster.h"

namespace graft {

// Jobs whose numbers /metrics shows at the most; of more that run at once the rest is left out.
inline constexpr int kMaxJobsInTelemetry = 100;

// What /metrics shows of the server, beside the RPCs (RpcRuntime). What the store knows is read
// from it at each scrape, so it is right after a restart too; series of a job are there while it
// runs. Thread-safe.
class ServerTelemetry {
 public:
  // Registers the families. Before the store is opened: OnCommit is its listener.
  ServerTelemetry(MetricRegistry& registry, Clock& clock);

  // For StoreOptions::on_commit.
  void OnCommit(absl::Duration commit_time, int changes);
  // A job was given to a worker for the first time, or again.
  void OnLeased(const v1::Job& job);
  // A batch of a worker's was stored.
  void OnEvents(const std::string& job,
                const google::protobuf::RepeatedPtrField<v1::JobEvent>& events);
  void OnLeaseExpired();
  void OnPreempted();
  // A study came to its end by itself.
  void OnStudyDone(v1::StudyState state);
  // A worker's stream was opened, and a heartbeat came; each is good for `lease`.
  void OnConnected(const worker::v1::ConnectRequest& hello, absl::Duration lease);
  void OnHeartbeat(const worker::v1::HeartbeatRequest& heartbeat, absl::Duration lease);
  // Follows the store's changes (called by its listener).
  void OnChange(const JobChange& change);

  // For the broker, which tells it of texts.
  TextTelemetry& texts() { return texts_; }

  // Reads store, hub and broker into the gauges at each scrape; all must outlive the scraping.
  void RefreshAtScrape(MetricRegistry& registry, JobStore& store, WorkerHub& hub,
                       GenerationBroker& broker, Scheduler& scheduler);

 private:
  struct LastStep {
    int64_t step = 0;
    absl::Time time;
  };

  // They are there from the start, so that a rate over their first increment is right.
  void BeginCounters();
  // 0 for InfiniteFuture.
  double WaitedSeconds(absl::Time since) const;
  void RefreshCounts(JobStore& store);
  void RefreshRunning(JobStore& store);
  void RefreshWorkers(const std::vector<WorkerHub::WorkerView>& connected,
                      GenerationBroker& broker);
  void RefreshSetAside(const std::vector<WorkerHub::WorkerView>& connected, Scheduler& scheduler);
  void ShowMetric(const std::string& job, const std::string& name, double value);

  Clock& clock_;
  HistogramFamily& commit_seconds_;
  CounterFamily& commit_changes_;
  HistogramFamily& queue_wait_;
  CounterFamily& requeues_;
  CounterFamily& expired_leases_;
  CounterFamily& preemptions_;
  HistogramFamily& step_seconds_;
  CounterFamily& tokens_;
  CounterFamily& ended_;
  CounterFamily& failures_;
  CounterFamily& deleted_;
  CounterFamily& ended_studies_;
  GaugeFamily& jobs_;
  GaugeFamily& studies_;
  GaugeFamily& oldest_wait_;
  GaugeFamily& head_wait_;
  GaugeFamily& marked_ends_;
  GaugeFamily& catalogue_;
  GaugeFamily& job_loss_;
  GaugeFamily& job_rouge_;
  GaugeFamily& job_steps_;
  GaugeFamily& workers_;
  GaugeFamily& worker_up_;
  GaugeFamily& workers_set_aside_;
  GaugeFamily& worker_slots_;
  CounterFamily& engine_restarts_;

  TextTelemetry texts_;
  WorkerRoster roster_;
  Mutex mutex_;
  std::map<std::string, LastStep> last_steps_ ABSL_GUARDED_BY(mutex_);  // By job, while it runs.
};

}  // namespace graft
