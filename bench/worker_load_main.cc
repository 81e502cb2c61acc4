// Is a worker with many jobs, and many watchers, to a graft-server with queued jobs: claims some
// one by one, reports events of them as fast as the server takes them, then has one job watched by
// many. Prints one JSON line. parts/service.py sets a server up for it.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/load.h"
#include "graft/v1/job.grpc.pb.h"
#include "graft/worker/v1/worker.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace graft {
namespace {

using Json = nlohmann::ordered_json;

struct Load {
  std::string server;
  std::string workers;  // Where the server listens for workers.
  int server_pid = 0;
  int claims = 200;
  int reporters = 64;  // Jobs, at most as many as claims; each with one call in flight.
  int batch = 16;      // Events a call.
  int watchers = 1000;
  int connections = 64;  // Of the watchers.
  int watched_events = 50;
  double seconds = 5;
};

// All that follows would measure nothing.
void Check(const grpc::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.error_message().c_str());
  std::exit(1);
}

std::shared_ptr<grpc::Channel> ConnectTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void Identify(worker::v1::WorkerIdentity& worker) {
  worker.set_id("w-load");
  worker.set_instance("one");
}

// A job that is held, and the batches told of it.
struct Held {
  worker::v1::Lease lease;
  int64_t batch = 0;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<worker::v1::ReportEventsResponse>> call;
  worker::v1::ReportEventsResponse answer;
  grpc::Status status;
};

// The numbers of training steps, as an engine tells them.
worker::v1::ReportEventsRequest NextBatch(Held& held, int events) {
  worker::v1::ReportEventsRequest request;
  Identify(*request.mutable_worker());
  request.set_job(held.lease.job());
  request.set_lease_epoch(held.lease.lease_epoch());
  request.set_batch(++held.batch);
  for (int i = 0; i < events; ++i) {
    v1::Metrics& metrics = *request.add_events()->mutable_metrics();
    metrics.set_step((held.batch - 1) * events + i + 1);
    metrics.set_total_steps(1'000'000);
    for (const char* name :
         {"train/loss", "train/grad_norm", "train/learning_rate", "train/tokens_per_second"}) {
      (*metrics.mutable_values())[name] = 1.0 / static_cast<double>(metrics.step());
    }
  }
  request.set_step(held.batch * events);
  request.set_total_steps(1'000'000);
  request.set_stage(v1::JOB_STAGE_TRAINING);
  return request;
}

class Worker {
 public:
  explicit Worker(const Load& load)
      : load_(load), stub_(worker::v1::WorkerService::NewStub(ConnectTo(load.workers))) {}

  Json Claim() {
    Times times;
    const Spent spent(load_.server_pid);
    for (int i = 0; i < load_.claims; ++i) {
      worker::v1::LeaseJobRequest request;
      Identify(*request.mutable_worker());
      request.set_request_id(absl::StrCat("claim-", i));
      worker::v1::LeaseJobResponse response;
      grpc::ClientContext context;
      const absl::Duration sent = BoottimeNow();
      Check(stub_->LeaseJob(&context, request, &response), "LeaseJob");
      times.Add(BoottimeNow() - sent);
      if (!response.has_lease()) {
        Check({grpc::StatusCode::NOT_FOUND, "there are fewer jobs than claims"}, "LeaseJob");
      }
      held_.emplace_back().lease = response.lease();
    }
    return {{"p50_ms", times.QuantileMs(0.5)},
            {"p99_ms", times.QuantileMs(0.99)},
            {"client_cores", spent.client_cores()},
            {"server_cores", spent.server_cores()}};
  }

  Json Report() {
    grpc::CompletionQueue queue;
    const Spent spent(load_.server_pid);
    size_t in_flight = 0;
    for (; in_flight + 1 < held_.size() && in_flight < static_cast<size_t>(load_.reporters);) {
      Send(held_[in_flight++], queue);
    }
    int64_t batches = 0;
    void* tag = nullptr;
    bool ok = false;
    while (in_flight > 0 && queue.Next(&tag, &ok)) {
      Held& held = *static_cast<Held*>(tag);
      Check(held.status, "ReportEvents");
      ++batches;
      if (spent.elapsed() < absl::Seconds(load_.seconds)) {
        Send(held, queue);
      } else {
        --in_flight;
      }
    }
    const auto events = static_cast<double>(batches * load_.batch);
    return {{"events_per_second", events / absl::ToDoubleSeconds(spent.elapsed())},
            {"client_cores", spent.client_cores()},
            {"server_cores", spent.server_cores()}};
  }

  // Of the last job, of which Report tells nothing: waits for the answer.
  void ReportOne() {
    worker::v1::ReportEventsResponse response;
    grpc::ClientContext context;
    Check(stub_->ReportEvents(&context, NextBatch(held_.back(), 1), &response), "ReportEvents");
  }
  const std::string& last_job() const { return held_.back().lease.job(); }

 private:
  void Send(Held& held, grpc::CompletionQueue& queue) {
    held.context = std::make_unique<grpc::ClientContext>();
    held.call = stub_->AsyncReportEvents(held.context.get(), NextBatch(held, load_.batch), &queue);
    held.call->Finish(&held.answer, &held.status, &held);
  }

  const Load& load_;
  std::unique_ptr<worker::v1::WorkerService::Stub> stub_;
  std::vector<Held> held_;
};

struct Watcher {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientAsyncReader<v1::WatchJobResponse>> stream;
  v1::WatchJobResponse message;
};

class Watchers {
 public:
  Watchers(const Load& load, const std::string& job) {
    for (int i = 0; i < load.connections; ++i) {
      stubs_.push_back(v1::JobService::NewStub(ConnectTo(load.server)));
    }
    v1::WatchJobRequest request;
    request.set_name(job);
    for (int i = 0; i < load.watchers; ++i) {
      watchers_.push_back(std::make_unique<Watcher>());
      watchers_.back()->stream = stubs_[i % stubs_.size()]->AsyncWatchJob(
          &watchers_.back()->context, request, &queue_, watchers_.back().get());
    }
  }
  ~Watchers() {
    for (const auto& watcher : watchers_) watcher->context.TryCancel();
    queue_.Shutdown();
    void* tag = nullptr;
    for (bool ok = false; queue_.Next(&tag, &ok);) {
    }
  }

  // Until every watcher has seen the event of that number. Times are from `sent` to each arrival.
  void WaitForAll(int64_t sequence, absl::Duration sent, Times* times) {
    size_t missing = watchers_.size();
    void* tag = nullptr;
    bool ok = false;
    while (missing > 0 && queue_.Next(&tag, &ok)) {
      if (!ok) Check({grpc::StatusCode::UNAVAILABLE, "a watcher's stream has ended"}, "WatchJob");
      Watcher& watcher = *static_cast<Watcher*>(tag);
      if (watcher.message.event().sequence() >= sequence) {
        if (times != nullptr) times->Add(BoottimeNow() - sent);
        --missing;
      }
      watcher.message.Clear();
      watcher.stream->Read(&watcher.message, &watcher);
    }
  }

 private:
  std::vector<std::unique_ptr<v1::JobService::Stub>> stubs_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Watcher>> watchers_;
};

// One event at a time, for each of which all watchers are waited for.
Json Watch(const Load& load, Worker& worker) {
  Watchers watchers(load, worker.last_job());
  constexpr int64_t kBegun = 2;  // Events of a job that a worker has: created, begun.
  watchers.WaitForAll(kBegun, {}, nullptr);
  Times times;
  const Spent spent(load.server_pid);
  for (int i = 0; i < load.watched_events; ++i) {
    const absl::Duration sent = BoottimeNow();
    worker.ReportOne();
    watchers.WaitForAll(kBegun + i + 1, sent, &times);
  }
  const double seconds = absl::ToDoubleSeconds(spent.elapsed());
  return {{"deliveries_per_second", static_cast<double>(times.size()) / seconds},
          {"p50_ms", times.QuantileMs(0.5)},
          {"p99_ms", times.QuantileMs(0.99)},
          {"client_cores", spent.client_cores()},
          {"server_cores", spent.server_cores()}};
}

int Run(const Load& load) {
  Worker worker(load);
  Json result;
  result["claims"] = worker.Claim();
  result["events"] = worker.Report();
  result["watchers"] = Watch(load, worker);
  std::printf("%s\n", result.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  graft::Load load;
  CLI::App app("Is a worker and many watchers to a graft-server with queued jobs.");
  app.add_option("--server", load.server, "HOST:PORT")->required();
  app.add_option("--workers", load.workers, "unix:PATH or HOST:PORT for workers")->required();
  app.add_option("--server-pid", load.server_pid, "to tell the server's processor time")
      ->required();
  app.add_option("--claims", load.claims, "jobs to claim");
  app.add_option("--watchers", load.watchers);
  app.add_option("--watched-events", load.watched_events);
  app.add_option("--seconds", load.seconds, "of reporting events");
  CLI11_PARSE(app, argc, argv);
  return graft::Run(load);
}
