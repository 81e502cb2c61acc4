// Submits jobs to a graft-server as fast as it takes them: one call in flight on each of some
// connections. Prints one JSON line: rate, times, and what a submit cost the processors.
// parts/service.py sets a server up for it.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/load.h"
#include "graft/v1/job.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace graft {
namespace {

struct Load {
  std::string server;
  int connections = 64;
  double seconds = 10;
  int64_t jobs = 0;  // Above 0: so many, however long it takes.
  int server_pid = 0;
};

v1::CreateJobRequest SmallJob() {
  v1::CreateJobRequest request;
  request.mutable_job()->set_display_name("load");
  v1::FineTuneSpec& spec = *request.mutable_job()->mutable_spec()->mutable_fine_tune();
  spec.set_base_model("tiny");
  spec.mutable_data()->set_train("train");
  spec.mutable_data()->set_validation("valid");
  spec.mutable_method()->mutable_lora();
  spec.mutable_training()->set_max_steps(6);
  return request;
}

// A connection with its one call.
struct Caller {
  std::unique_ptr<v1::JobService::Stub> stub;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::Job>> call;
  v1::Job answer;
  grpc::Status status;
  absl::Duration sent;
};

class Loader {
 public:
  explicit Loader(const Load& load) : load_(load), request_(SmallJob()) {
    for (int i = 0; i < load.connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      callers_.emplace_back().stub = v1::JobService::NewStub(
          grpc::CreateCustomChannel(load.server, grpc::InsecureChannelCredentials(), arguments));
    }
  }

  // Until the time is over, or, where `jobs` is above 0, so many are sent. false: a call failed,
  // and stderr says why.
  bool Run(absl::Duration time, int64_t jobs) {
    times_.Clear();
    const int64_t last = sent_ + jobs;
    const absl::Duration end = BoottimeNow() + time;
    for (Caller& caller : callers_) Send(caller);
    void* tag = nullptr;
    bool ok = false;
    bool all_ok = true;
    for (size_t in_flight = callers_.size(); in_flight > 0 && queue_.Next(&tag, &ok);) {
      Caller& caller = *static_cast<Caller*>(tag);
      times_.Add(BoottimeNow() - caller.sent);
      if (!caller.status.ok() && all_ok) {
        std::fprintf(stderr, "%s\n", caller.status.error_message().c_str());
        all_ok = false;
      }
      if (all_ok && (jobs > 0 ? sent_ < last : BoottimeNow() < end)) {
        Send(caller);
      } else {
        --in_flight;
      }
    }
    return all_ok;
  }

  Times& times() { return times_; }

 private:
  void Send(Caller& caller) {
    caller.context = std::make_unique<grpc::ClientContext>();
    request_.set_request_id(absl::StrCat("load-", getpid(), "-", ++sent_));
    caller.sent = BoottimeNow();
    caller.call = caller.stub->AsyncCreateJob(caller.context.get(), request_, &queue_);
    caller.call->Finish(&caller.answer, &caller.status, &caller);
  }

  const Load load_;
  v1::CreateJobRequest request_;
  grpc::CompletionQueue queue_;
  std::vector<Caller> callers_;
  Times times_;
  int64_t sent_ = 0;
};

int Run(const Load& load) {
  Loader loader(load);
  // The connections are made, and the server's statements prepared.
  if (load.jobs == 0 && !loader.Run(absl::Milliseconds(500), 0)) return 1;
  const Spent spent(load.server_pid);
  if (!loader.Run(absl::Seconds(load.seconds), load.jobs)) return 1;
  const double seconds = absl::ToDoubleSeconds(spent.elapsed());
  const auto calls = static_cast<double>(loader.times().size());
  const nlohmann::ordered_json result = {
      {"jobs", loader.times().size()},
      {"submits_per_second", calls / seconds},
      {"p50_ms", loader.times().QuantileMs(0.5)},
      {"p99_ms", loader.times().QuantileMs(0.99)},
      {"client_cores", spent.client_cores()},
      {"server_cores", spent.server_cores()},
      {"server_cpu_ms_per_1000", absl::ToDoubleMilliseconds(spent.server()) * 1000 / calls}};
  std::printf("%s\n", result.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  graft::Load load;
  CLI::App app("Submits jobs to a graft-server as fast as it takes them.");
  app.add_option("--server", load.server, "HOST:PORT")->required();
  app.add_option("--connections", load.connections, "each with one call in flight");
  app.add_option("--seconds", load.seconds);
  app.add_option("--jobs", load.jobs, "so many, however long it takes");
  app.add_option("--server-pid", load.server_pid, "to tell the server's processor time")
      ->required();
  CLI11_PARSE(app, argc, argv);
  return graft::Run(load);
}
