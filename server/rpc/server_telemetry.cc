#include "server/rpc/server_telemetry.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/jobs/job_state.h"
#include "common/studies/study_state.h"

namespace graft {
namespace {

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

// 1 ms to 10 minutes.
std::vector<double> StepBuckets() {
  return {0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600};
}

std::vector<double> CommitBuckets() {
  return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1};
}

}  // namespace

ServerTelemetry::ServerTelemetry(MetricRegistry& registry, Clock& clock)
    : clock_(clock),
      commit_seconds_(registry.AddHistogram(
          "graft_store_commit_seconds", "Time of one commit of the store.", {}, CommitBuckets())),
      commit_changes_(
          registry.AddCounter("graft_store_changes_total", "Changes that commits made durable.")),
      queue_wait_(registry.AddHistogram("graft_job_queue_wait_seconds",
                                        "From being queued, or queued again, to the lease.", {},
                                        WaitBuckets())),
      requeues_(registry.AddCounter("graft_job_requeues_total",
                                    "Jobs that were queued again: lease lost, engine crashed.")),
      expired_leases_(registry.AddCounter("graft_leases_expired_total",
                                          "Leases that ended because nobody renewed them.")),
      preemptions_(registry.AddCounter("graft_job_preemptions_total",
                                       "Running jobs that made way for one of higher priority.")),
      step_seconds_(registry.AddHistogram("graft_train_step_seconds",
                                          "Time between logged optimiser steps, per step.", {},
                                          StepBuckets())),
      tokens_(registry.AddCounter("graft_train_tokens_total",
                                  "Tokens trained on, from the logged rates.")),
      ended_(registry.AddCounter("graft_jobs_ended_total",
                                 "Jobs that reached a final state, by state.", {"state"})),
      failures_(registry.AddCounter("graft_job_failures_total",
                                    "Jobs that ended FAILED, by failure class.", {"class"})),
      deleted_(registry.AddCounter("graft_jobs_deleted_total", "Jobs that were deleted.")),
      ended_studies_(registry.AddCounter("graft_studies_ended_total",
                                         "Studies that came to their end by themselves, by state.",
                                         {"state"})),
      jobs_(registry.AddGauge("graft_jobs", "Jobs by state and method.", {"state", "method"})),
      studies_(
          registry.AddGauge("graft_studies", "Studies that are not done, by state.", {"state"})),
      oldest_wait_(registry.AddGauge("graft_queue_oldest_wait_seconds",
                                     "Time that a job has waited in the queue, the longest.")),
      head_wait_(registry.AddGauge("graft_queue_head_wait_seconds",
                                   "Time that the job which runs next has waited.")),
      marked_ends_(registry.AddGauge("graft_job_ends_waiting",
                                     "Ended jobs for which --on-job-end has yet to run.")),
      catalogue_(registry.AddGauge("graft_resources", "Data sets, models and adapters.", {"kind"})),
      job_loss_(registry.AddGauge("graft_job_loss_nats", "Last loss of a running job.",
                                  {"job_name", "split"})),
      job_rouge_(registry.AddGauge("graft_job_rouge_ratio",
                                   "Last ROUGE F-measure of a running job.", {"job_name", "kind"})),
      job_steps_(registry.AddGauge("graft_job_steps", "Optimiser steps of a running job.",
                                   {"job_name", "count"})),
      workers_(registry.AddGauge("graft_workers", "Workers that are up.")),
      worker_up_(registry.AddGauge("graft_worker_up",
                                   "1, or 0 of a worker that was up and is away (for 24 hours).",
                                   {"worker", "hostname"})),
      workers_set_aside_(registry.AddGauge(
          "graft_workers_set_aside",
          "Workers that are offered jobs rarely, since their attempts come to nothing.")),
      worker_slots_(
          registry.AddGauge("graft_worker_slots", "Slots of workers that are up.", {"state"})),
      engine_restarts_(registry.AddCounter(
          "graft_engine_restarts_total", "Engines that crashed and were started again, by worker.",
          {"worker"})),
      texts_(registry),
      roster_(clock) {
  BeginCounters();
}

void ServerTelemetry::BeginCounters() {
  requeues_.Add({}, 0);
  expired_leases_.Add({}, 0);
  preemptions_.Add({}, 0);
  deleted_.Add({}, 0);
  tokens_.Add({}, 0);
  commit_changes_.Add({}, 0);
  for (int state = 0; state < v1::JobState_ARRAYSIZE; ++state) {
    if (IsFinal(v1::JobState(state))) ended_.Add({StateName(v1::JobState(state))}, 0);
  }
  for (const v1::StudyState state : {v1::STUDY_STATE_SUCCEEDED, v1::STUDY_STATE_FAILED}) {
    ended_studies_.Add({StudyStateName(state)}, 0);
  }
  for (int failure = 1; failure < v1::FailureClass_ARRAYSIZE; ++failure) {
    failures_.Add({FailureClassName(v1::FailureClass(failure))}, 0);
  }
}

void ServerTelemetry::OnCommit(absl::Duration commit_time, int changes) {
  commit_seconds_.Observe({}, absl::ToDoubleSeconds(commit_time));
  commit_changes_.Add({}, changes);
}

double ServerTelemetry::WaitedSeconds(absl::Time since) const {
  // The clock may have been set back.
  return since == absl::InfiniteFuture()
             ? 0
             : std::max(0.0, absl::ToDoubleSeconds(clock_.Now() - since));
}

void ServerTelemetry::OnLeased(const v1::Job& job) {
  // A job that an older graft queued has no queue_time.
  queue_wait_.Observe(
      {}, WaitedSeconds(TimeOf(job.has_queue_time() ? job.queue_time() : job.create_time())));
}

void ServerTelemetry::OnLeaseExpired() { expired_leases_.Add({}); }

void ServerTelemetry::OnPreempted() { preemptions_.Add({}); }

void ServerTelemetry::OnStudyDone(v1::StudyState state) {
  ended_studies_.Add({StudyStateName(state)});
}

void ServerTelemetry::OnEvents(const std::string& job,
                               const google::protobuf::RepeatedPtrField<v1::JobEvent>& events) {
  for (const v1::JobEvent& event : events) {
    if (!event.has_metrics() || event.metrics().step() <= 0) continue;
    const LastStep now = {event.metrics().step(), TimeOf(event.create_time())};
    LastStep before;
    {
      MutexLock lock(mutex_);
      LastStep& last = last_steps_[job];
      before = std::exchange(last, now);
    }
    // The first one seen has nothing to be measured from; after a resume steps go back.
    if (before.step == 0 || now.step <= before.step || now.time <= before.time) continue;
    const double seconds = absl::ToDoubleSeconds(now.time - before.time);
    step_seconds_.Observe({}, seconds / static_cast<double>(now.step - before.step));
    const auto rate = event.metrics().values().find("train/tokens_per_second");
    if (rate != event.metrics().values().end() && rate->second > 0) {
      tokens_.Add({}, rate->second * seconds);
    }
  }
}

void ServerTelemetry::OnChange(const JobChange& change) {
  if (change.deleted) deleted_.Add({});
  if (change.state == change.previous_state) return;
  const bool again = change.failure_class != v1::FAILURE_CLASS_UNSPECIFIED;
  if (again && change.state == v1::JOB_STATE_QUEUED) {
    requeues_.Add({});
  }
  if (IsFinal(change.state)) ended_.Add({StateName(change.state)});
  if (change.state == v1::JOB_STATE_FAILED) failures_.Add({FailureClassName(change.failure_class)});
  if (change.state != v1::JOB_STATE_RUNNING) {
    MutexLock lock(mutex_);
    last_steps_.erase(change.job);
  }
}

void ServerTelemetry::RefreshAtScrape(MetricRegistry& registry, JobStore& store, WorkerHub& hub,
                                      GenerationBroker& broker, Scheduler& scheduler) {
  registry.OnScrape([this, &store, &hub, &broker, &scheduler] {
    RefreshCounts(store);
    RefreshRunning(store);
    const std::vector<WorkerHub::WorkerView> connected = hub.workers();
    RefreshWorkers(connected, broker);
    RefreshSetAside(connected, scheduler);
  });
}

void ServerTelemetry::RefreshCounts(JobStore& store) {
  absl::StatusOr<StoreCounts> counts = store.Counts();
  if (!counts.ok()) return;
  jobs_.Clear();
  for (const StoreCounts::Jobs& jobs : counts->jobs) {
    jobs_.Set({StateName(jobs.state), jobs.method}, static_cast<double>(jobs.count));
  }
  for (const v1::StudyState state : {v1::STUDY_STATE_RUNNING, v1::STUDY_STATE_PAUSED}) {
    studies_.Set({StudyStateName(state)}, static_cast<double>(counts->open_studies[state]));
  }
  marked_ends_.Set({}, static_cast<double>(counts->marked_ends));
  catalogue_.Set({"dataset"}, static_cast<double>(counts->datasets));
  catalogue_.Set({"model"}, static_cast<double>(counts->models));
  catalogue_.Set({"adapter"}, static_cast<double>(counts->adapters));
  oldest_wait_.Set({}, WaitedSeconds(counts->oldest_queued));
  head_wait_.Set({}, WaitedSeconds(counts->head_queued));
}

void ServerTelemetry::ShowMetric(const std::string& job, const std::string& name, double value) {
  if (name == "train/loss" || name == "eval/loss") {
    job_loss_.Set({job, name.substr(0, name.find('/'))}, value);
  }
  for (const char* kind : {"rouge1", "rouge2", "rougeL", "rougeLsum"}) {
    if (absl::StripPrefix(name, "eval/") == kind) job_rouge_.Set({job, kind}, value);
  }
}

void ServerTelemetry::RefreshRunning(JobStore& store) {
  JobQuery query;
  query.filter.state = v1::JOB_STATE_RUNNING;
  query.page_size = kMaxJobsInTelemetry;
  const absl::StatusOr<Page<v1::Job>> running = store.ListJobs(query);
  if (!running.ok()) return;
  for (GaugeFamily* family : {&job_loss_, &job_rouge_, &job_steps_}) family->Clear();
  for (const v1::Job& job : running->items) {
    job_steps_.Set({job.name(), "done"}, static_cast<double>(job.step()));
    job_steps_.Set({job.name(), "total"}, static_cast<double>(job.total_steps()));
    for (const auto& [name, value] : job.last_metrics()) ShowMetric(job.name(), name, value);
  }
}

void ServerTelemetry::OnConnected(const worker::v1::ConnectRequest& hello, absl::Duration lease) {
  roster_.Connected(hello, lease);
}

void ServerTelemetry::OnHeartbeat(const worker::v1::HeartbeatRequest& heartbeat,
                                  absl::Duration lease) {
  roster_.Heard(heartbeat, lease);
}

void ServerTelemetry::RefreshSetAside(const std::vector<WorkerHub::WorkerView>& connected,
                                      Scheduler& scheduler) {
  const std::set<std::string> set_aside = scheduler.SetAside();
  workers_set_aside_.Set({}, static_cast<double>(std::count_if(
                                 connected.begin(), connected.end(), [&](const auto& worker) {
                                   return set_aside.contains(worker.id);
                                 })));
}

void ServerTelemetry::RefreshWorkers(const std::vector<WorkerHub::WorkerView>& connected,
                                     GenerationBroker& broker) {
  std::set<std::string> ids;
  for (const WorkerHub::WorkerView& worker : connected) ids.insert(worker.id);
  const WorkerRoster::Look look = roster_.TakeLook(ids);
  for (const std::string& id : look.forgotten) engine_restarts_.RemoveWhere("worker", id);
  worker_up_.Clear();
  std::set<std::string> up;
  for (const WorkerRoster::Worker& worker : look.workers) {
    if (worker.up) up.insert(worker.id);
    worker_up_.Set({worker.id, worker.hostname}, worker.up ? 1 : 0);
    engine_restarts_.Add({worker.id}, static_cast<double>(worker.new_crashes));
  }
  int free_slots = 0;
  int slots = 0;
  for (const WorkerHub::WorkerView& worker : connected) {
    if (!up.contains(worker.id)) continue;
    slots += worker.slots;
    free_slots += worker.free_slots;
  }
  workers_.Set({}, static_cast<double>(up.size()));
  worker_slots_.Set({"free"}, free_slots);
  worker_slots_.Set({"busy"}, slots - free_slots);
  texts_.ShowWaiting(broker.QueuedByAdapter());
}

}  // namespace graft
